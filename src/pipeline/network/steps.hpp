// Lowers layers to steps: what an engine runs as one operation. ReLU right behind a convolution or fully
// connected layer is fused into it; LRN into the max pool right behind it where the engine has that; dropout
// (identity in inference) and flatten (a change of name) cost nothing.
#pragma once

#include <optional>
#include <set>
#include <vector>

#include "pipeline/network/network.hpp"

namespace halotile {

struct Step {
  std::size_t layer = 0;  ///< the layer that is computed
  std::size_t first = 0;  ///< the step stands for layers [first, last)
  std::size_t last = 0;
  bool relu = false;                    ///< with a fused ReLU
  bool copy = false;                    ///< nothing to compute: layers that are all identity
  std::optional<std::size_t> lrn = {};  ///< of a max pool: the LRN layer that is fused into it

  bool operator==(const Step&) const = default;
};

/// Steps for layers [first, last) of a network; empty for an empty range. Nothing is fused behind a layer in
/// `keep`. `lrn_and_pool`: the engine supports LrnMaxPool.
[[nodiscard]] std::vector<Step> lower(const Network& network, std::size_t first, std::size_t last,
                                      const std::set<std::size_t>& keep, bool lrn_and_pool = false);

/// One behind the last layer of the step that changes values.
[[nodiscard]] std::size_t value_end(const Network& network, const Step& step);

/// Element type of a layer's output in memory: `map_type` before the last fully connected layer, f32 from
/// there on (and for feature maps always `map_type`).
[[nodiscard]] DType output_type(const Network& network, std::size_t layer, DType map_type);

/// The stages of `stages: per_conv`: every convolution and every pooling starts one, pointwise layers stay
/// with what is before them. A network that begins with pointwise layers has them in a stage of their own.
[[nodiscard]] std::vector<StageRange> per_conv_stages(const Network& network);
/// The same stages with an LRN right before a max pool at the pool's stage instead of the convolution's.
[[nodiscard]] std::vector<StageRange> lrn_with_pools(const Network& network, std::vector<StageRange> stages);
/// All spatial layers in one stage.
[[nodiscard]] std::vector<StageRange> fused_stages(const Network& network);
/// Splits stages so that one ends behind each of the `layers` that are spatial.
[[nodiscard]] std::vector<StageRange> split_behind(std::vector<StageRange> stages,
                                                   const std::vector<std::size_t>& layers);

}  // namespace halotile
