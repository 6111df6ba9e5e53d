#include "formats/image_list.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <system_error>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;

bool has_image_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  // By hand, not by tolower(): what is an image must not depend on the locale.
  for (char& c : extension) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return extension == ".jpg" || extension == ".jpeg" || extension == ".png";
}

std::vector<fs::path> images_in_folder(const fs::path& folder) {
  std::vector<fs::path> images;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (!has_image_extension(entry->path())) continue;
    // What cannot be examined, such as a dangling link, is kept: whoever reads it says what is wrong.
    std::error_code unknown_kind;
    const fs::file_status status = entry->status(unknown_kind);
    if (fs::is_regular_file(status) || !fs::exists(status)) images.push_back(entry->path());
  }
  if (error) {
    throw FormatError(
        fmt::format("{} cannot be listed: {}; change its permissions", shown_path(folder), error.message()));
  }
  if (images.empty()) {
    throw FormatError(fmt::format(
        "{} holds no images: looked for .jpg, .jpeg and .png files right in it (not in subfolders); "
        "name another folder or the files themselves",
        shown_path(folder)));
  }
  std::ranges::sort(images, {}, [](const fs::path& path) { return path.filename().string(); });
  return images;
}

}  // namespace

std::vector<fs::path> list_images(std::span<const fs::path> inputs) {
  if (inputs.empty()) throw FormatError("no images were given; name image files, or folders that hold some");
  std::vector<fs::path> images;
  for (const fs::path& input : inputs) {
    std::error_code error;
    const fs::file_status status = fs::status(input, error);
    if (status.type() == fs::file_type::not_found) {
      throw FormatError(fmt::format("{} does not exist; check the path", shown_path(input)));
    }
    if (status.type() == fs::file_type::none) {
      throw FormatError(fmt::format("{} cannot be examined: {}; change its permissions", shown_path(input),
                                    error.message()));
    }
    if (fs::is_directory(status)) {
      const std::vector<fs::path> found = images_in_folder(input);
      images.insert(images.end(), found.begin(), found.end());
    } else {
      images.push_back(input);
    }
  }
  return images;
}

}  // namespace halotile
