#include "kernels/engines/cuda/cudnn/cudnn_library.hpp"

#include <dlfcn.h>

#include <array>
#include <type_traits>

#include "patching/error.hpp"

namespace halotile::cudnn {
namespace {

[[noreturn]] void throw_missing(const std::string& what) {
  throw UnsupportedError(
      what + "; put the folders of cuDNN " + std::to_string(CUDNN_MAJOR) +
      " for this machine's CUDA, and of its libnvrtc, into LD_LIBRARY_PATH (a PyTorch installation has them "
      "in nvidia/cudnn/lib and nvidia/cu13/lib), or set engine: direct or tensor_core");
}

Library open_library() {
  const std::string file = "libcudnn.so." + std::to_string(CUDNN_MAJOR);
  // It stays loaded: it may have threads and exit handlers of its own.
  void* const opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (opened == nullptr) {
    const char* const why = dlerror();
    throw_missing(file + " cannot be loaded (" + (why != nullptr ? why : "no reason given") + ")");
  }
  Library f;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(opened, name));
    if (function == nullptr) throw_missing(file + " has no function " + name);
  };
  find(f.version, "cudnnGetVersion");
  find(f.error_string, "cudnnGetErrorString");
  find(f.last_error_string, "cudnnGetLastErrorString");
  find(f.create, "cudnnCreate");
  find(f.destroy, "cudnnDestroy");
  find(f.set_stream, "cudnnSetStream");
  find(f.create_descriptor, "cudnnBackendCreateDescriptor");
  find(f.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  find(f.finalize, "cudnnBackendFinalize");
  find(f.set_attribute, "cudnnBackendSetAttribute");
  find(f.get_attribute, "cudnnBackendGetAttribute");
  find(f.execute, "cudnnBackendExecute");
  return f;
}

}  // namespace

const Library& library() {
  static const Library opened = open_library();
  return opened;
}

std::string describe(cudnnStatus_t status) {
  std::array<char, 512> message{};
  library().last_error_string(message.data(), message.size());
  message.back() = '\0';
  std::string text = library().error_string(status);
  if (message.front() != '\0') text += std::string(": ") + message.data();
  return text;
}

void check(cudnnStatus_t status, std::string_view doing) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw UnsupportedError("cuDNN failed at " + std::string(doing) + " (" + describe(status) +
                         "); choose another engine (direct, tensor_core), or run with CUDNN_LOGLEVEL_DBG=2 "
                         "to see its own messages");
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check(library().create_descriptor(type, &descriptor_), "making a descriptor");
}

Descriptor::~Descriptor() {
  if (descriptor_ != nullptr) library().destroy_descriptor(descriptor_);
}

void Descriptor::set_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         std::int64_t count, const void* values) {
  const cudnnStatus_t status = library().set_attribute(descriptor_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) check(status, "setting attribute " + std::to_string(name));
}

std::int64_t Descriptor::get_raw(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                                 std::int64_t count, void* values) const {
  std::int64_t there = 0;
  const cudnnStatus_t status = library().get_attribute(descriptor_, name, type, count, &there, values);
  if (status != CUDNN_STATUS_SUCCESS) check(status, "reading attribute " + std::to_string(name));
  return there;
}

std::int64_t Descriptor::get_int64(cudnnBackendAttributeName_t name) const {
  std::int64_t value = 0;
  get(name, CUDNN_TYPE_INT64, std::span(&value, 1));
  return value;
}

void Descriptor::finalize(std::string_view what) { check(try_finalize(), what); }

cudnnStatus_t Descriptor::try_finalize() { return library().finalize(descriptor_); }

}  // namespace halotile::cudnn
