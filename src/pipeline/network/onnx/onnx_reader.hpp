// ONNX files as networks: what each operator of the file's operator set means, in halotile's layers.
#pragma once

#include <filesystem>
#include <optional>

#include "patching/geometry.hpp"
#include "pipeline/network/weights.hpp"

namespace halotile {

/// Reads the network for images of the size `extent`, or of the file's own, and its weights by the names that
/// Weights::from_file looks for. Throws ConfigError naming the first
/// node that cannot be expressed, and why; FormatError for a file that is no ONNX, damaged or cut short;
/// UnsupportedError in builds without protobuf.
[[nodiscard]] ModelFile read_onnx(const std::filesystem::path& file, std::optional<Extent2> extent);

/// True for a model file of this kind, by its name.
[[nodiscard]] bool is_onnx(const std::filesystem::path& file);

}  // namespace halotile
