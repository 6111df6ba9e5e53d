// Lowers nodes to steps: what an engine runs as one operation. ReLU right behind a convolution, fully
// connected layer or join is fused into it; LRN into the max pool right behind it where the engine has that;
// dropout (identity in inference) and flatten (a change of name) cost nothing.
#pragma once

#include <optional>
#include <set>
#include <span>
#include <vector>

#include "pipeline/network/network.hpp"

namespace halotile {

struct Step {
  std::size_t node = 0;                 ///< what is computed
  std::vector<std::size_t> nodes;       ///< all that it stands for but identity nodes, ascending
  std::vector<std::size_t> inputs;      ///< values that it reads: those before identity nodes among `nodes`
  std::size_t output = 0;               ///< the value that it writes
  bool relu = false;                    ///< with a fused ReLU
  bool copy = false;                    ///< nothing to compute: the output is the input under another name
  std::optional<std::size_t> lrn = {};  ///< of a max pool: the LRN node that is fused into it
  /// Of a copy for a concatenation, which takes one for each input: the channels that this one becomes.
  std::optional<Interval> channels = {};

  bool operator==(const Step&) const = default;
};

/// Steps for `nodes`, ascending numbers of a network's. Nothing is fused behind a value that is read by other
/// nodes too, or in `kept`. A kept map that is another name of one made elsewhere is copied. `lrn_and_pool`:
/// the engine supports LrnMaxPool.
[[nodiscard]] std::vector<Step> lower(const Network& network, std::span<const std::size_t> nodes,
                                      const std::set<std::size_t>& kept, bool lrn_and_pool = false);

/// What an engine runs for a step. Throws UnsupportedError for a step that is no operation of an engine's.
[[nodiscard]] Op op_of(const Network& network, const Step& step);

/// "conv1", or "lrn1+pool1".
[[nodiscard]] std::string name_of(const Network& network, const Step& step);

/// Element type of a value in memory: `map_type` before the last fully connected layer, f32 from there on
/// (and for feature maps always `map_type`).
[[nodiscard]] DType output_type(const Network& network, std::size_t value, DType map_type);

}  // namespace halotile
