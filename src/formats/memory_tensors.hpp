// Weights that are in memory already, as those who make networks in code have them.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "formats/npy.hpp"
#include "formats/tensor_file.hpp"

namespace halotile {

/// These arrays, by name, where a file of weights is asked for. Errors call it `path`. Throws ShapeError for
/// an array with another number of elements than its shape has.
[[nodiscard]] std::unique_ptr<TensorFile> tensors_in_memory(std::map<std::string, NpyArray> arrays,
                                                            const std::string& path = "weights in memory");

}  // namespace halotile
