// NumPy's .npz files: a ZIP archive of .npy files, stored (numpy.savez) or deflated
// (numpy.savez_compressed).
// Source: numpy.lib.format; PKWARE APPNOTE 6.3.10.
#pragma once

#include <filesystem>
#include <memory>

#include "formats/tensor_file.hpp"

namespace halotile {

/// Opens the archive and reads the header of every array; `.npy` is dropped from the names. Refuses members
/// that are not .npy files, are encrypted, or compressed by another method than deflate, doubled names, and
/// sizes that the archive's bytes cannot hold (deflate packs at most 1032 to 1), before anything of that size
/// is allocated. Types are those of read_npy. Throws FormatError.
[[nodiscard]] std::unique_ptr<TensorFile> open_npz(const std::filesystem::path& path);

}  // namespace halotile
