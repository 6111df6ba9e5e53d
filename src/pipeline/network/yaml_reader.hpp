// Reads YAML strictly: every key must be known, every value of the right type and range, and all that is
// wrong is reported at once, each with its place, what was read, and what is allowed.
#pragma once

#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "patching/geometry.hpp"

namespace halotile {

/// Collects the errors of one file (and of the command line's overrides of it).
class Diagnostics {
 public:
  explicit Diagnostics(std::string file) : file_(std::move(file)) {}

  /// Notes that the value at `path` ("patch.size") came from this command-line word.
  void overridden(const std::string& path, const std::string& word) { overrides_[path] = word; }
  /// Adds "file:line:column: path: message", or the command-line word as the place.
  void error(const YAML::Mark& mark, const std::string& path, const std::string& message);
  [[nodiscard]] bool empty() const { return errors_.empty(); }
  /// Throws ConfigError with all errors, a line each, if there are any.
  void throw_if_any() const;

 private:
  std::string file_;
  std::map<std::string, std::string> overrides_;
  std::vector<std::string> errors_;
};

/// The name in `names` nearest to `word`, if it is near enough to be a slip.
[[nodiscard]] std::optional<std::string> nearest_name(std::string_view word,
                                                      std::span<const std::string> names);

class YamlMap;

/// One value and where it stands. Reads report to the diagnostics and return nothing when the value is wrong.
class YamlValue {
 public:
  YamlValue(Diagnostics& diagnostics, YAML::Node node, std::string path)
      : diagnostics_(&diagnostics), node_(std::move(node)), path_(std::move(path)) {}

  [[nodiscard]] const YAML::Node& node() const { return node_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  void error(const std::string& message) const { diagnostics_->error(node_.Mark(), path_, message); }
  /// A short form of what stands in the file, for messages.
  [[nodiscard]] std::string shown() const;

  [[nodiscard]] bool is_word(std::string_view word) const {
    return node_.IsScalar() && node_.Scalar() == word;
  }
  [[nodiscard]] bool is_map() const { return node_.IsMap(); }
  [[nodiscard]] bool is_list() const { return node_.IsSequence(); }
  [[nodiscard]] std::optional<std::int64_t> integer(std::int64_t low, std::int64_t high) const;
  [[nodiscard]] std::optional<double> number(double low, double high) const;
  [[nodiscard]] std::optional<bool> boolean() const;
  [[nodiscard]] std::optional<std::string> text() const;
  /// One of the words.
  [[nodiscard]] std::optional<std::string> choice(std::span<const std::string> words) const;
  /// One integer for both axes, or [height, width].
  [[nodiscard]] std::optional<Extent2> extent(std::int64_t low, std::int64_t high) const;
  /// The elements of a list (or nothing, after an error).
  [[nodiscard]] std::vector<YamlValue> list() const;
  /// The value as a mapping of known keys.
  [[nodiscard]] YamlMap map() const;
  /// The value of a mapping's key.
  [[nodiscard]] YamlValue child(const YAML::Node& value, const std::string& key) const {
    return {*diagnostics_, value, path_ + "." + key};
  }

 private:
  Diagnostics* diagnostics_;
  YAML::Node node_;
  std::string path_;
};

/// A mapping whose keys are all known: take them one by one, then finish().
class YamlMap {
 public:
  /// Reports a value that is not a mapping, and keys that stand twice.
  YamlMap(Diagnostics& diagnostics, const YAML::Node& node, std::string path);

  /// The value of an optional key; null (`key:` with nothing) counts as absent.
  [[nodiscard]] std::optional<YamlValue> find(const std::string& key);
  /// The value of a key that must be there; reports its absence.
  [[nodiscard]] std::optional<YamlValue> require(const std::string& key, const std::string& example);
  /// Reports every key that was never asked for. `elsewhere` are names that such a key may have lost its
  /// section of: "patch.size".
  void finish(std::span<const std::string> elsewhere = {});
  void error(const std::string& message) const { diagnostics_->error(node_.Mark(), path_, message); }

  // Optional keys with defaults.
  [[nodiscard]] std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t low,
                                     std::int64_t high);
  [[nodiscard]] double number(const std::string& key, double fallback, double low, double high);
  [[nodiscard]] bool boolean(const std::string& key, bool fallback);
  [[nodiscard]] std::string choice(const std::string& key, const std::string& fallback,
                                   std::span<const std::string> words);
  [[nodiscard]] Extent2 extent(const std::string& key, Extent2 fallback, std::int64_t low, std::int64_t high);
  /// The entries of a mapping from words to words; empty without the key.
  [[nodiscard]] std::map<std::string, std::string> words(const std::string& key);

 private:
  [[nodiscard]] std::string child(const std::string& key) const {
    return path_.empty() ? key : path_ + "." + key;
  }

  Diagnostics* diagnostics_;
  YAML::Node node_;
  std::string path_;
  std::vector<std::string> known_;
};

/// Largest size any key takes; keeps every sum of a few sizes far inside 64 bits.
inline constexpr std::int64_t largest_size = (std::int64_t{1} << 31) - 1;

/// Parses one document of at most a million values and 64 levels, all that aliases repeat counted, so that
/// whoever walks it comes to an end. Throws YAML::Exception with what is wrong ("is not valid YAML: ...");
/// the caller knows where the text comes from.
[[nodiscard]] YAML::Node parse_yaml(const std::string& text);

/// Parses a file or pipe that must hold one mapping. Throws ConfigError (path, line and column of what is
/// wrong).
[[nodiscard]] YAML::Node load_yaml(const std::filesystem::path& file);

}  // namespace halotile
