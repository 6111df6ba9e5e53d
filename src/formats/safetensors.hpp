// Safetensors files: 8 bytes of header length (little-endian), a JSON header that says type, shape and place
// of every tensor, then the elements without gaps.
// Source: https://github.com/huggingface/safetensors (README, "Format"; safetensors/src/tensor.rs).
#pragma once

#include <filesystem>
#include <memory>

#include "formats/tensor_file.hpp"

namespace halotile {

/// Maps the file and checks it as the format's reference implementation does, and beyond: the header fits the
/// file and 100,000,000 bytes, is a JSON object without doubled names or unknown keys, every type is known,
/// every size is the product of shape and type, and the tensors fill the rest of the file without holes or
/// overlaps. F64, F32, F16 and BF16 can be read; tensors of other types may stand in the file. Throws
/// FormatError.
[[nodiscard]] std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& path);

}  // namespace halotile
