#include "pipeline/experiment/labels.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "formats/input_file.hpp"
#include "formats/printable.hpp"
#include "formats/tensor_file.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;

// The lines of a text file, without line ends (LF or CRLF) and without a byte order mark.
std::vector<std::string> read_lines(const fs::path& path) {
  const InputFile file(path);
  constexpr std::int64_t largest = std::int64_t{1} << 28;
  if (file.size() > largest) {
    throw FormatError(fmt::format("{}: has {} bytes, more than a list of names has; check the path",
                                  shown_path(path), file.size()));
  }
  const std::vector<std::byte> bytes = read_all(file);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The fields of a CSV line; nothing when a quote is left open or something follows a closed one.
std::optional<std::vector<std::string>> split_fields(std::string_view line) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  bool closed = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c != '"') {
        fields.back() += c;
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += line[++i];
      } else {
        quoted = false;
        closed = true;
      }
    } else if (c == ',') {
      fields.emplace_back();
      closed = false;
    } else if (closed) {
      return std::nullopt;
    } else if (c == '"' && fields.back().empty()) {
      quoted = true;
    } else {
      fields.back() += c;
    }
  }
  if (quoted) return std::nullopt;
  return fields;
}

// One form for every way to write a path. The last part is kept: images may be links to one another.
std::string resolved(const fs::path& path) {
  std::error_code error;
  const fs::path folder = fs::weakly_canonical(fs::absolute(path).parent_path(), error);
  return ((error ? fs::absolute(path).parent_path() : folder) / path.filename()).lexically_normal().string();
}

std::int64_t class_of(const std::string& label, std::span<const std::string> names, std::int64_t classes,
                      const std::string& place) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), number);
  if (error == std::errc{} && end == label.data() + label.size()) {
    if (number >= 0 && number < classes) return number;
    throw FormatError(fmt::format("{}: class {} is none of the network's {}; a number from 0 to {} is needed",
                                  place, number, classes, classes - 1));
  }
  const auto found = std::ranges::find(names, label);
  if (found == names.end()) {
    throw FormatError(fmt::format("{}: {} is no class {}", place, shown_name(label),
                                  names.empty()
                                      ? "number; name the classes with class_names in the model file, "
                                        "or use numbers counted from 0"
                                      : "of the network; use a name from its class_names, or a number "
                                        "counted from 0"));
  }
  if (std::find(found + 1, names.end(), label) != names.end()) {
    throw FormatError(
        fmt::format("{}: several classes are called {}; use the class's number", place, shown_name(label)));
  }
  return found - names.begin();
}

}  // namespace

std::vector<std::string> read_class_names(const fs::path& file, std::int64_t classes) {
  std::vector<std::string> names = read_lines(file);
  const auto empty = std::ranges::find(names, "");
  if (empty != names.end()) {
    throw FormatError(fmt::format("{}:{}: is empty; each line must name a class", shown_path(file),
                                  empty - names.begin() + 1));
  }
  if (static_cast<std::int64_t>(names.size()) != classes) {
    throw ShapeError(
        fmt::format("{}: names {} classes, but the network has {}; give one name a line, or correct "
                    "class_names in the model file",
                    shown_path(file), names.size(), classes));
  }
  return names;
}

Labels::Labels(const fs::path& file, std::span<const std::string> names, std::int64_t classes) {
  const std::vector<std::string> lines = read_lines(file);
  if (lines.empty() || lines[0] != "file,label") {
    throw FormatError(fmt::format("{}:1: must be the head `file,label`", shown_path(file)));
  }
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].empty()) continue;
    const std::string place = fmt::format("{}:{}", shown_path(file), i + 1);
    const auto fields = split_fields(lines[i]);
    if (!fields || fields->size() != 2 || (*fields)[0].empty()) {
      throw FormatError(
          fmt::format("{}: is not of the form `file,label`; quote names with commas: \"a,b.png\",3", place));
    }
    const fs::path image = (*fields)[0];
    const std::string path = resolved(image.is_absolute() ? image : file.parent_path() / image);
    const Label label{class_of((*fields)[1], names, classes, place), {i + 1, (*fields)[0]}};
    if (!labels_.emplace(path, label).second) {
      throw FormatError(
          fmt::format("{}: {} stands twice; keep one of the two", place, shown_name((*fields)[0])));
    }
  }
}

std::optional<std::int64_t> Labels::of(const fs::path& image) const {
  const auto found = labels_.find(resolved(image));
  if (found == labels_.end()) return std::nullopt;
  return found->second.class_index;
}

std::vector<Labels::Place> Labels::without(std::span<const fs::path> images) const {
  std::set<std::string> known;
  for (const fs::path& image : images) known.insert(resolved(image));
  std::vector<Place> places;
  for (const auto& [path, label] : labels_) {
    if (!known.contains(path)) places.push_back(label.place);
  }
  std::ranges::sort(places, {}, &Place::line);
  return places;
}

}  // namespace halotile
