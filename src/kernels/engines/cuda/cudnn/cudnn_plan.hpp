// A convolution as cuDNN's operation graph, convolution -> bias -> ReLU, and the plan that cuDNN's heuristics
// choose for it. What the plan adds up in which order is cuDNN's own business and may change with any extent.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "kernels/engines/cuda/cudnn/cudnn_library.hpp"
#include "kernels/maps/map.hpp"

namespace halotile::cudnn {

/// A map as cuDNN gets it: channels next to each other, strides in elements.
struct Tensor {
  DType type = DType::f32;
  std::int64_t images = 0;
  std::int64_t channels = 0;
  Extent2 extent;
  std::int64_t image_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 0;

  auto operator<=>(const Tensor&) const = default;
  /// Bytes that divide the address of every position when they divide the first's: at most 16.
  [[nodiscard]] std::int64_t alignment() const;
  /// An extent of one has a stride that moves nothing: cuDNN then looks past it, at the channels and the
  /// other strides, and may take addresses to be better aligned than alignment() says.
  [[nodiscard]] bool seems_better_aligned() const;
};

/// `extent` positions of a view, and a gap-free tensor.
[[nodiscard]] Tensor tensor_of(const MapGeometry& map, Extent2 extent);
[[nodiscard]] Tensor dense_tensor(DType type, std::int64_t images, std::int64_t channels, Extent2 extent);

/// All that a plan depends on. Filters are (out channels, kernel rows, kernel columns, in channels of a
/// group); they and biases are of the input's type, sums are f32.
struct Problem {
  Tensor in;
  Tensor out;
  std::int64_t groups = 1;
  Extent2 kernel{1, 1};
  Extent2 stride{1, 1};
  Extent2 dilation{1, 1};
  Extent2 before{0, 0};  ///< zeros above and left of the input
  Extent2 after{0, 0};   ///< below and right
  bool bias = false;
  bool relu = false;
  bool tf32 = false;  ///< f32 inputs may be rounded to tf32

  auto operator<=>(const Problem&) const = default;
};

/// What a plan reads and writes, in the device's memory.
struct Addresses {
  const void* in = nullptr;
  const void* filters = nullptr;
  const void* bias = nullptr;
  void* out = nullptr;
  void* workspace = nullptr;
};

class Plan {
 public:
  /// Queues it on the handle's stream. Throws UnsupportedError.
  void run(cudnnHandle_t handle, const Addresses& addresses) const;
  [[nodiscard]] std::size_t workspace_bytes() const { return workspace_bytes_; }
  /// cuDNN's number of the engine behind it.
  [[nodiscard]] std::int64_t engine() const { return engine_; }

 private:
  friend struct PlanSearch;
  Plan(Descriptor plan, Descriptor config, std::int64_t engine);

  std::shared_ptr<const std::deque<Descriptor>> graph_;  // what the plan was made from
  Descriptor config_;
  Descriptor plan_;
  std::size_t workspace_bytes_ = 0;
  std::int64_t engine_ = 0;
  bool bias_ = false;
};

/// The first plan that cuDNN's heuristics offer and that can be built: mode A, then the fallbacks. Passed
/// over are those that would round f32 inputs without leave, add up in less than f32, give other bits in
/// every run, or go through Winograd's or Fourier's transforms, whose errors are of another size.
struct PlanSearch {
  PlanSearch(cudnnHandle_t handle, const Problem& problem);

  std::unique_ptr<Plan> plan;  ///< null: cuDNN has none
  std::string why;             ///< then: what cuDNN said

 private:
  void search(cudnnHandle_t handle, const Problem& problem, cudnnBackendHeurMode_t mode);
};

}  // namespace halotile::cudnn
