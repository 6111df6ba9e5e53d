// onnx_file.hpp in builds without protobuf.
#include <fmt/format.h>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/network/onnx/onnx_file.hpp"

namespace halotile {

OnnxFile read_onnx_file(const std::filesystem::path& path) {
  throw UnsupportedError(fmt::format(
      "{}: this build reads no ONNX files, since protobuf was not there; install libprotobuf-dev and "
      "protobuf-compiler and build again",
      shown_path(path)));
}

}  // namespace halotile
