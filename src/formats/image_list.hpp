// The images a user means by a list of files and folders.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

namespace halotile {

/// Files as given and in the given order; a folder stands for the .jpg, .jpeg and .png files right in it (any
/// case, no subfolders; links that lead nowhere, too), sorted by the bytes of their names. Throws FormatError
/// when a path does not exist, a folder holds no image or cannot be listed, or nothing was given.
[[nodiscard]] std::vector<std::filesystem::path> list_images(std::span<const std::filesystem::path> inputs);

}  // namespace halotile
