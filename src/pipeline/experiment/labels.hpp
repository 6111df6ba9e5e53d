// Names of a network's classes, and which class each photograph shows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace halotile {

/// One name a line, in the order of the network's outputs. Throws FormatError when the file cannot be read or
/// a line is empty, ShapeError when it does not name `classes` classes.
[[nodiscard]] std::vector<std::string> read_class_names(const std::filesystem::path& file,
                                                        std::int64_t classes);

/// The classes of photographs, from a CSV file with the head `file,label`: paths relative to the CSV's
/// folder; a label is a class's number, counted from 0, or its name. Fields may be quoted as RFC 4180 has it.
class Labels {
 public:
  /// `names` may be empty: then labels are numbers. Throws FormatError, with the line, for what cannot be
  /// understood, classes that the network has not, and files that stand twice.
  Labels(const std::filesystem::path& file, std::span<const std::string> names, std::int64_t classes);

  /// The label of an image, if it has one.
  [[nodiscard]] std::optional<std::int64_t> of(const std::filesystem::path& image) const;
  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(labels_.size()); }

  /// A label's place in the file.
  struct Place {
    std::size_t line = 0;  ///< counted from 1
    std::string file;      ///< as it is written there
  };
  /// The labels of none of `images`, in the order of the file.
  [[nodiscard]] std::vector<Place> without(std::span<const std::filesystem::path> images) const;

 private:
  struct Label {
    std::int64_t class_index;
    Place place;
  };
  std::map<std::string, Label> labels_;  // by resolved path
};

}  // namespace halotile
