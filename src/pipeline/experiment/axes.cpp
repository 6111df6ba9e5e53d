#include "pipeline/experiment/axes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "formats/home_path.hpp"
#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::size_t most_steps = 100'000;

Json shown(const YAML::Node& node) {
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const auto& entry : node) list.push_back(shown(entry));
    return list;
  }
  if (node.IsMap()) {
    Json map = Json::object();
    for (const auto& entry : node) map[entry.first.Scalar()] = shown(entry.second);
    return map;
  }
  if (!node.IsScalar()) return nullptr;
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  const Json number = Json::parse(text, nullptr, false);
  return number.is_number() || number.is_boolean() ? number : Json(text);
}

std::string text_of(const YAML::Node& node) {
  YAML::Emitter out;
  out.SetSeqFormat(YAML::Flow);
  out.SetMapFormat(YAML::Flow);
  out << node;
  return out.c_str();
}

YAML::Node absolute(const YAML::Node& node, const fs::path& folder) {
  const bool empty = node.IsScalar() && node.Scalar().empty();  // whoever reads it says what is wrong
  if (node.IsScalar() && begins_at_home(node.Scalar())) return node;
  if (node.IsScalar() && !empty) return YAML::Node(fs::absolute(folder / node.Scalar()).string());
  if (!node.IsSequence()) return node;
  YAML::Node list(YAML::NodeType::Sequence);
  for (const auto& entry : node) list.push_back(absolute(entry, folder));
  return list;
}

SweepAxisValue value_of(const std::string& key, const YAML::Node& node, const fs::path& folder) {
  return {text_of(config::names_files(key) ? absolute(node, folder) : node), shown(node)};
}

bool is_range(std::string_view text) { return text.starts_with("range("); }

// The numbers of "range(a, b, step)", as Python has them; a message for what is no range.
std::vector<SweepAxisValue> range_values(std::string_view text, std::string& problem) {
  std::vector<std::int64_t> parts;
  const char* at = text.data() + std::string_view("range(").size();
  const char* const end = text.data() + text.size();
  const auto skip_spaces = [&] {
    while (at != end && *at == ' ') ++at;
  };
  bool closed = false;
  while (!closed && parts.size() < 3) {
    skip_spaces();
    std::int64_t number = 0;
    const auto [next, failure] = std::from_chars(at, end, number);
    if (failure != std::errc()) break;
    parts.push_back(number);
    at = next;
    skip_spaces();
    if (at == end || (*at != ',' && *at != ')')) break;
    closed = *at++ == ')';
  }
  if (!closed || at != end) {
    problem = fmt::format(
        "is '{}'; range(end), range(begin, end) or range(begin, end, step) of whole numbers is needed, in "
        "quotes where it stands in {{}} or []",
        text);
    return {};
  }
  const std::int64_t begin = parts.size() > 1 ? parts[0] : 0;
  const std::int64_t stop = parts.size() > 1 ? parts[1] : parts[0];
  const std::int64_t step = parts.size() > 2 ? parts[2] : 1;
  std::vector<SweepAxisValue> values;
  for (std::int64_t i = begin; step > 0 ? i < stop : step < 0 && i > stop;) {
    values.push_back({std::to_string(i), i});
    if (values.size() > most_steps) {
      problem = fmt::format("is '{}', more than {} values", text, most_steps);
      return {};
    }
    if (__builtin_add_overflow(i, step, &i)) break;  // the end is nearer than what comes next
  }
  if (values.empty()) problem = fmt::format("is '{}', which has no values", text);
  return values;
}

class AxesReader {
 public:
  AxesReader(const YamlValue& sweep, const fs::path& folder) : folder_(folder) {
    if (!sweep.is_map()) {
      sweep.error(fmt::format(
          "is {}; a mapping of keys to lists of values is needed, for example patch.size: [32, 64, whole]",
          sweep.shown()));
      return;
    }
    for (const auto& entry : sweep.node()) {
      const YamlValue value = sweep.child(entry.second, entry.first.Scalar());
      if (entry.first.Scalar() != "zip") {
        add({entry.first.Scalar()}, {values(entry.first.Scalar(), value)}, value);
      } else if (value.is_list()) {
        for (const YamlValue& group : value.list()) add_zip(group);
      } else {
        add_zip(value);
      }
    }
  }

  [[nodiscard]] std::vector<SweepAxis> take() { return std::move(axes_); }

 private:
  std::vector<SweepAxisValue> values(const std::string& key, const YamlValue& value) {
    std::vector<SweepAxisValue> result;
    if (value.node().IsScalar() && is_range(value.node().Scalar())) {
      std::string problem;
      result = range_values(value.node().Scalar(), problem);
      if (!problem.empty()) value.error(problem);
    } else if (value.is_list()) {
      for (const auto& entry : value.node()) result.push_back(value_of(key, entry, folder_));
      if (result.empty()) value.error("is an empty list; at least one value is needed");
    } else if (value.node().IsScalar()) {
      result.push_back(value_of(key, value.node(), folder_));
    } else {
      value.error("a list of values, or range(begin, end, step), is needed");
    }
    return result;
  }

  void add_zip(const YamlValue& group) {
    if (!group.is_map()) {
      group.error("a mapping of keys to lists of the same length is needed");
      return;
    }
    std::vector<std::string> keys;
    std::vector<std::vector<SweepAxisValue>> columns;
    for (const auto& entry : group.node()) {
      keys.push_back(entry.first.Scalar());
      columns.push_back(values(keys.back(), group.child(entry.second, keys.back())));
    }
    for (std::size_t i = 1; i < columns.size(); ++i) {
      if (columns[i].empty() || columns[0].empty() || columns[i].size() == columns[0].size()) continue;
      group.error(fmt::format("{} has {} values and {} has {}; what is zipped must have equally many",
                              keys[0], columns[0].size(), keys[i], columns[i].size()));
      return;
    }
    if (!keys.empty()) add(keys, columns, group);
  }

  void add(const std::vector<std::string>& keys, const std::vector<std::vector<SweepAxisValue>>& columns,
           const YamlValue& place) {
    SweepAxis axis{keys, {}, true};
    for (const std::string& key : keys) {
      if (!known_.insert(key).second) place.error(fmt::format("has {} twice; keep one of the two", key));
    }
    std::size_t steps = columns[0].size();
    for (const auto& column : columns) steps = std::min(steps, column.size());
    for (std::size_t step = 0; step < steps; ++step) {
      axis.steps.emplace_back();
      for (const auto& column : columns) axis.steps.back().push_back(column[step]);
    }
    axes_.push_back(std::move(axis));
  }

  const fs::path folder_;
  std::vector<SweepAxis> axes_;
  std::set<std::string> known_;
};

// Where the top-level commas of a word's value are, its end behind them.
std::vector<std::size_t> commas(std::string_view text) {
  std::vector<std::size_t> found;
  int depth = 0;
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '{' || c == '(') {
      ++depth;
    } else if (c == ']' || c == '}' || c == ')') {
      --depth;
    } else if (c == ',' && depth == 0) {
      found.push_back(i);
    }
  }
  found.push_back(text.size());
  return found;
}

}  // namespace

std::vector<SweepAxis> read_axes(const YamlValue& sweep, const fs::path& folder) {
  return AxesReader(sweep, folder).take();
}

std::optional<SweepAxis> axis_of_word(const std::string& word) {
  const std::size_t equals = word.find('=');
  if (equals == std::string::npos) return {};
  const std::string key = word.substr(0, equals);
  const std::string_view text = std::string_view(word).substr(equals + 1);
  const std::vector<std::size_t> ends = commas(text);
  SweepAxis axis{{key}, {}, false};
  if (ends.size() == 1) {
    if (!is_range(text)) return {};
    std::string problem;
    for (SweepAxisValue& value : range_values(text, problem)) axis.steps.push_back({std::move(value)});
    if (!problem.empty())
      throw ConfigError(fmt::format("command line '{}': {}: {}", printable(word), key, problem));
    return axis;
  }
  std::size_t begin = 0;
  for (const std::size_t end : ends) {
    const std::string piece(text.substr(begin, end - begin));
    begin = end + 1;
    if (piece.empty())
      throw ConfigError(
          fmt::format("command line '{}': a value between two commas is missing", printable(word)));
    try {
      axis.steps.push_back({{piece, shown(parse_yaml(piece))}});
    } catch (const YAML::Exception& e) {
      throw ConfigError(fmt::format("command line '{}': '{}' {}", printable(word), printable(piece), e.msg));
    }
  }
  return axis;
}

std::vector<std::string> words_at(const SweepAxis& axis, std::size_t step) {
  std::vector<std::string> words;
  for (std::size_t k = 0; k < axis.keys.size(); ++k)
    words.push_back(axis.keys[k] + "=" + axis.steps[step][k].text);
  return words;
}

std::string at_axis(std::string message, const SweepAxis& axis, std::size_t step, const fs::path& file) {
  if (!axis.from_file) return message;
  for (const std::string& word : words_at(axis, step)) {
    const std::string wrong = fmt::format("command line '{}'", printable(word));
    for (std::size_t at = 0; (at = message.find(wrong, at)) != std::string::npos;)
      message.replace(at, wrong.size(), fmt::format("{}: sweep: '{}'", shown_path(file), printable(word)));
  }
  return message;
}

}  // namespace halotile
