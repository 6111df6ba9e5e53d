#include "pipeline/network/yaml_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <numeric>
#include <set>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

// Number of insertions, deletions, replacements and swaps of neighbours between two words.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] =
          std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

// A plain (unquoted) scalar; quoted ones are strings.
bool plain_scalar(const YAML::Node& node) { return node.IsScalar() && node.Tag() != "!"; }

// The whole of a plain scalar as a number, a leading + allowed.
template <typename Number>
std::optional<Number> parsed(const YAML::Node& node) {
  if (!plain_scalar(node)) return {};
  std::string_view text = node.Scalar();
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  Number value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

constexpr int most_levels = 64;
constexpr std::size_t most_values = 1'000'000;
constexpr std::size_t most_bytes = std::size_t{16} << 20;

// Walks what anchors stand for, too: one that holds itself has no end, a few that hold each other many times
// stand for more than any memory holds.
void check_size(const YAML::Node& node, int levels_left, std::size_t& values_left) {
  if (levels_left == 0) {
    throw YAML::Exception(
        node.Mark(), fmt::format("is nested deeper than {} levels, or an anchor (&) holds itself; make it "
                                 "flatter, without the alias (*)",
                                 most_levels));
  }
  if (values_left == 0) {
    throw YAML::Exception(node.Mark(), fmt::format("stands behind {} values, those that aliases (*) repeat "
                                                   "counted; leave some out",
                                                   most_values));
  }
  --values_left;
  if (node.IsSequence()) {
    for (const auto& entry : node) check_size(entry, levels_left - 1, values_left);
  } else if (node.IsMap()) {
    for (const auto& entry : node) {
      check_size(entry.first, levels_left - 1, values_left);
      check_size(entry.second, levels_left - 1, values_left);
    }
  }
}

// Where a second document has its first word. Looked for by its marks, which stand at the beginning of a line
// and nowhere else: on some malformed text yaml-cpp itself finds documents without end.
std::optional<YAML::Mark> second_document(std::string_view text) {
  bool first = false;   // it has begun
  bool behind = false;  // and ended
  for (int number = 0; !text.empty(); ++number) {
    const std::size_t length = text.find('\n');
    std::string_view line = text.substr(0, length);
    text.remove_prefix(length == std::string_view::npos ? text.size() : length + 1);
    const auto is_mark = [&](std::string_view mark) {
      return line.starts_with(mark) &&
             (line.size() == 3 || std::string_view(" \t\r").find(line[3]) != std::string_view::npos);
    };
    int column = 0;
    if (is_mark("---") || is_mark("...")) {
      behind = first;
      line.remove_prefix(3);
      column = 3;
    }
    const std::size_t word = line.find_first_not_of(" \t\r");
    if (word == std::string_view::npos || line[word] == '#' || (line[word] == '%' && word == 0)) continue;
    if (behind) {
      YAML::Mark mark;
      mark.line = number;
      mark.column = column + static_cast<int>(word);
      return mark;
    }
    first = true;
  }
  return std::nullopt;
}

// Regular files, and pipes such as <(command) makes.
std::string text_of(const std::filesystem::path& file) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(file, ignored);
  if (std::filesystem::is_directory(status))
    throw ConfigError(fmt::format("{}: is a folder; name a YAML file in it", shown_path(file)));
  if (std::filesystem::is_other(status) && !std::filesystem::is_fifo(status))
    throw ConfigError(fmt::format("{}: is a device; name a YAML file", shown_path(file)));
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw ConfigError(fmt::format("{}: cannot be opened; check the path", shown_path(file)));
  std::string text;
  std::array<char, 65536> piece{};
  while (stream.read(piece.data(), piece.size()) || stream.gcount() > 0) {
    text.append(piece.data(), static_cast<std::size_t>(stream.gcount()));
    if (text.size() > most_bytes) {
      throw ConfigError(fmt::format("{}: is larger than {} MiB; name a YAML file that is written by hand",
                                    shown_path(file), most_bytes >> 20));
    }
  }
  if (stream.bad()) throw ConfigError(fmt::format("{}: cannot be read; check the disk", shown_path(file)));
  return text;
}

}  // namespace

void Diagnostics::error(const YAML::Mark& mark, const std::string& path, const std::string& message) {
  std::string place;
  for (const auto& [overridden_path, word] : overrides_) {
    // Below the overridden value, or a section that stands in no file but was made to hold it.
    if (path == overridden_path || path.starts_with(overridden_path + ".") ||
        path.starts_with(overridden_path + "[") ||
        (mark.is_null() && overridden_path.starts_with(path + "."))) {
      place = fmt::format("command line '{}'", word);
    }
  }
  if (place.empty()) {
    // A node without a mark (nothing in the file stands for it) belongs to the file as a whole.
    place = mark.is_null() ? file_ : fmt::format("{}:{}:{}", file_, mark.line + 1, mark.column + 1);
  }
  errors_.push_back(printable(path.empty() ? fmt::format("{}: {}", place, message)
                                           : fmt::format("{}: {}: {}", place, path, message)));
}

void Diagnostics::throw_if_any() const {
  if (!errors_.empty()) throw ConfigError(fmt::format("{}", fmt::join(errors_, "\n")));
}

std::optional<std::string> nearest_name(std::string_view word, std::span<const std::string> names) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(word, name);
    if (distance < best_distance) {
      best_distance = distance;
      best = name;
    }
  }
  return best;
}

std::string YamlValue::shown() const {
  if (node_.IsScalar()) return fmt::format("'{}'", node_.Scalar());
  if (node_.IsMap()) return "a mapping";
  if (node_.IsSequence()) return fmt::format("a list of {}", node_.size());
  return "nothing";
}

std::optional<std::int64_t> YamlValue::integer(std::int64_t low, std::int64_t high) const {
  const auto value = parsed<std::int64_t>(node_);
  if (value && *value >= low && *value <= high) return value;
  error(fmt::format("is {}; a whole number from {} to {} is needed", shown(), low, high));
  return {};
}

std::optional<double> YamlValue::number(double low, double high) const {
  const auto value = parsed<double>(node_);
  if (value && *value >= low && *value <= high) return value;
  error(fmt::format("is {}; a number from {} to {} is needed", shown(), low, high));
  return {};
}

std::optional<bool> YamlValue::boolean() const {
  if (plain_scalar(node_) && node_.Scalar() == "true") return true;
  if (plain_scalar(node_) && node_.Scalar() == "false") return false;
  error(fmt::format("is {}; true or false is needed", shown()));
  return {};
}

std::optional<std::string> YamlValue::text() const {
  if (node_.IsScalar() && !node_.Scalar().empty()) return node_.Scalar();
  error(fmt::format("is {}; a word is needed", shown()));
  return {};
}

std::optional<std::string> YamlValue::choice(std::span<const std::string> words) const {
  if (node_.IsScalar() && std::find(words.begin(), words.end(), node_.Scalar()) != words.end())
    return node_.Scalar();
  std::string hint;
  if (node_.IsScalar()) {
    if (const auto near = nearest_name(node_.Scalar(), words))
      hint = fmt::format("; did you mean '{}'?", *near);
  }
  error(fmt::format("is {}; one of {} is needed{}", shown(), fmt::join(words, ", "), hint));
  return {};
}

std::optional<Extent2> YamlValue::extent(std::int64_t low, std::int64_t high) const {
  if (node_.IsSequence()) {
    if (node_.size() != 2) {
      error(fmt::format("is {}; one whole number or [height, width] is needed", shown()));
      return {};
    }
    const auto parts = list();
    const auto height = parts[0].integer(low, high);
    const auto width = parts[1].integer(low, high);
    if (!height || !width) return {};
    return Extent2{*height, *width};
  }
  if (!node_.IsScalar()) {
    error(fmt::format("is {}; one whole number or [height, width] is needed", shown()));
    return {};
  }
  const auto edge = integer(low, high);
  if (!edge) return {};
  return Extent2{*edge, *edge};
}

std::vector<YamlValue> YamlValue::list() const {
  std::vector<YamlValue> values;
  if (!node_.IsSequence()) {
    error(fmt::format("is {}; a list is needed", shown()));
    return values;
  }
  for (std::size_t i = 0; i < node_.size(); ++i) {
    values.emplace_back(*diagnostics_, node_[i], fmt::format("{}[{}]", path_, i));
  }
  return values;
}

YamlMap YamlValue::map() const { return {*diagnostics_, node_, path_}; }

YamlMap::YamlMap(Diagnostics& diagnostics, const YAML::Node& node, std::string path)
    : diagnostics_(&diagnostics), node_(node), path_(std::move(path)) {
  if (!node_.IsMap()) {
    if (!node_.IsNull())
      error(fmt::format("is {}; a mapping (key: value) is needed",
                        YamlValue(diagnostics, node_, path_).shown()));
    node_ = YAML::Node(YAML::NodeType::Map);
    return;
  }
  std::set<std::string> seen;
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) {
      diagnostics_->error(entry.first.Mark(), path_, "has a key that is not a word");
    } else if (!seen.insert(entry.first.Scalar()).second) {
      diagnostics_->error(entry.first.Mark(), child(entry.first.Scalar()),
                          "stands twice; keep one of the two");
    }
  }
}

std::optional<YamlValue> YamlMap::find(const std::string& key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.push_back(key);
  for (const auto& entry : node_) {
    if (entry.first.IsScalar() && entry.first.Scalar() == key) {
      if (entry.second.IsNull()) return {};
      return YamlValue(*diagnostics_, entry.second, child(key));
    }
  }
  return {};
}

std::optional<YamlValue> YamlMap::require(const std::string& key, const std::string& example) {
  auto value = find(key);
  if (!value) error(fmt::format("lacks the key '{}', for example `{}`", key, example));
  return value;
}

void YamlMap::finish(std::span<const std::string> elsewhere) {
  for (const auto& entry : node_) {
    if (!entry.first.IsScalar()) continue;
    const std::string& key = entry.first.Scalar();
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    std::vector<std::string> names = known_;
    std::sort(names.begin(), names.end());
    std::vector<std::string> meant;
    for (const std::string& other : elsewhere) {
      if (other.ends_with("." + key)) meant.push_back(other);
    }
    if (meant.empty()) {
      if (auto near = nearest_name(key, names)) meant.push_back(std::move(*near));
    }
    diagnostics_->error(
        entry.first.Mark(), child(key),
        meant.empty() ? fmt::format("is not a known key; known here: {}", fmt::join(names, ", "))
                      : fmt::format("is not a known key; did you mean '{}'?", fmt::join(meant, "' or '")));
  }
}

std::int64_t YamlMap::integer(const std::string& key, std::int64_t fallback, std::int64_t low,
                              std::int64_t high) {
  const auto value = find(key);
  return value ? value->integer(low, high).value_or(fallback) : fallback;
}

double YamlMap::number(const std::string& key, double fallback, double low, double high) {
  const auto value = find(key);
  return value ? value->number(low, high).value_or(fallback) : fallback;
}

bool YamlMap::boolean(const std::string& key, bool fallback) {
  const auto value = find(key);
  return value ? value->boolean().value_or(fallback) : fallback;
}

std::string YamlMap::choice(const std::string& key, const std::string& fallback,
                            std::span<const std::string> words) {
  const auto value = find(key);
  return value ? value->choice(words).value_or(fallback) : fallback;
}

Extent2 YamlMap::extent(const std::string& key, Extent2 fallback, std::int64_t low, std::int64_t high) {
  const auto value = find(key);
  return value ? value->extent(low, high).value_or(fallback) : fallback;
}

std::map<std::string, std::string> YamlMap::words(const std::string& key) {
  std::map<std::string, std::string> entries;
  const auto value = find(key);
  if (!value) return entries;
  YamlMap map(*diagnostics_, value->node(), value->path());
  for (const auto& entry : value->node()) {
    if (!value->is_map() || !entry.first.IsScalar()) continue;
    if (const auto word = map.find(entry.first.Scalar())) {
      entries[entry.first.Scalar()] = word->text().value_or("");
    }
  }
  return entries;
}

YAML::Node parse_yaml(const std::string& text) {
  YAML::Node node;
  try {
    node = YAML::Load(text);
  } catch (const YAML::Exception& e) {
    throw YAML::Exception(e.mark, "is not valid YAML: " + e.msg);
  }
  if (const auto second = second_document(text))
    throw YAML::Exception(*second, "is a second document (behind ---); keep one of the two");
  std::size_t values = most_values;
  check_size(node, most_levels, values);
  return node;
}

YAML::Node load_yaml(const std::filesystem::path& file) {
  try {
    YAML::Node node = parse_yaml(text_of(file));
    if (!node.IsMap()) {
      throw ConfigError(fmt::format("{}: {}; a mapping (key: value lines) is needed", shown_path(file),
                                    node.IsNull() ? "is empty" : "holds no mapping"));
    }
    return node;
  } catch (const YAML::Exception& e) {
    throw ConfigError(
        fmt::format("{}:{}:{}: {}", shown_path(file), e.mark.line + 1, e.mark.column + 1, e.msg));
  }
}

}  // namespace halotile
