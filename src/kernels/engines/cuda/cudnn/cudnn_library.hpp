// cuDNN, opened when first asked for: programs run where it is missing. Its functions, its error codes as
// exceptions, and its backend descriptors as values that own them.
#pragma once

#include <cudnn_graph.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/devices/cuda/cuda_error.hpp"

namespace halotile::cudnn {

/// The functions in use.
struct Library {
  decltype(&cudnnGetVersion) version = nullptr;
  decltype(&cudnnGetErrorString) error_string = nullptr;
  decltype(&cudnnGetLastErrorString) last_error_string = nullptr;
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnDestroy) destroy = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
  decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
  decltype(&cudnnBackendFinalize) finalize = nullptr;
  decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
  decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
  decltype(&cudnnBackendExecute) execute = nullptr;
};

/// Throws UnsupportedError where there is no cuDNN of this build's major version, each time it is asked for.
[[nodiscard]] const Library& library();

/// "NOT_SUPPORTED_SHAPE: ..." : the status, and what cuDNN last said in this thread.
[[nodiscard]] std::string describe(cudnnStatus_t status);
/// Throws UnsupportedError unless `status` is success. `doing` completes "cuDNN failed at ...".
void check(cudnnStatus_t status, std::string_view doing);

/// One of cuDNN's backend descriptors. Attributes are set, then it is finalized and may be used.
class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~Descriptor();

  /// `values` are of the C type that belongs to `type`.
  template <typename T>
  Descriptor& set_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                      std::span<const T> values) {
    set_raw(name, type, static_cast<std::int64_t>(values.size()), values.data());
    return *this;
  }
  template <typename T>
  Descriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
    set_raw(name, type, 1, &value);
    return *this;
  }
  Descriptor& set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.descriptor_);
  }
  /// Throws as check() does.
  void finalize(std::string_view what);
  /// What finalizing answers.
  [[nodiscard]] cudnnStatus_t try_finalize();

  /// Fills `values` as far as there are any; their number. Throws as check() does.
  template <typename T, std::size_t n>
  std::int64_t get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                   std::span<T, n> values) const {
    return get_raw(name, type, static_cast<std::int64_t>(values.size()), values.data());
  }
  [[nodiscard]] std::int64_t get_int64(cudnnBackendAttributeName_t name) const;
  [[nodiscard]] cudnnBackendDescriptor_t raw() const { return descriptor_; }

 private:
  void set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
               const void* values);
  std::int64_t get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count,
                       void* values) const;

  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

}  // namespace halotile::cudnn
