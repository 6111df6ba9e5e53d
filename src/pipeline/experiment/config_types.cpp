#include "pipeline/experiment/config_types.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>

#include "formats/home_path.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/config.hpp"

namespace halotile::config {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Read = std::optional<Json>;

template <typename Value>
Read json_of(const std::optional<Value>& value) {
  return value ? Read(Json(*value)) : std::nullopt;
}

bool is_word(const YamlValue& value, const std::string& word) { return !word.empty() && value.is_word(word); }

// As it stands there, but for ~.
std::optional<fs::path> user_path(const YamlValue& value) {
  const std::optional<std::string> given = value.text();
  if (!given) return {};
  try {
    return expand_home(*given);
  } catch (const ConfigError& e) {
    value.error(e.what());
    return {};
  }
}

// What is written beside other results may not leave the folder.
std::string file_name(const YamlValue& value, const std::string& ending) {
  std::string name = value.text().value_or("file" + ending);
  if (fs::path(name).has_parent_path() || fs::path(name).extension() != ending) {
    value.error(fmt::format("is '{}'; a file name ending in {} is needed, without folders", name, ending));
  }
  return name;
}

// The entries of a mapping, in its order.
template <typename Visit>
void for_each_entry(const YamlValue& value, const Visit& visit) {
  YamlMap map = value.map();
  for (const auto& entry : value.node()) {
    if (!value.is_map() || !entry.first.IsScalar()) continue;
    if (const auto found = map.find(entry.first.Scalar())) visit(entry.first.Scalar(), *found);
  }
}

class Reader {
 public:
  Reader(const YamlValue& value, const fs::path& folder) : value_(value), folder_(folder) {}

  Read operator()(const Section&) const { return {}; }
  Read operator()(const Axes&) const { return {}; }

  Read operator()(const WholeNumber& type) const {
    if (is_word(value_, type.word)) return Json(0);
    return json_of(value_.integer(type.low, type.high));
  }

  Read operator()(const Sizes& type) const {
    if (!value_.is_list()) return (*this)(WholeNumber{type.low, type.high, type.word});
    Json sizes = Json::array();
    for (const YamlValue& size : value_.list())
      sizes.push_back(size.integer(type.low, type.high).value_or(type.low));
    if (sizes.empty()) {
      value_.error("is empty; sizes in order are needed, the last one for all that is left: [8, 16, 32]");
      return {};
    }
    return sizes;
  }

  Read operator()(const Number& type) const { return json_of(value_.number(type.low, type.high)); }

  Read operator()(const Channels& type) const {
    const std::vector<YamlValue> parts = value_.list();
    if (value_.is_list() && parts.size() != 3)
      value_.error(fmt::format("is {}; three numbers are needed: red, green, blue", value_.shown()));
    if (parts.size() != 3) return {};
    Json channels = Json::array();
    for (const YamlValue& part : parts) channels.push_back(part.number(type.low, type.high).value_or(1));
    return channels;
  }

  Read operator()(const Extent& type) const {
    if (is_word(value_, type.word)) return Json(type.word);
    const std::optional<Extent2> extent = value_.extent(type.low, type.high);
    return extent ? Read(Json{extent->height, extent->width}) : std::nullopt;
  }

  Read operator()(const Choice& type) const { return json_of(value_.choice(type.words)); }

  Read operator()(const Groups& type) const {
    if (!value_.is_list()) return json_of(value_.choice(type.words));
    Json groups = Json::array();
    for (const YamlValue& group : value_.list()) {
      groups.push_back(Json::array());
      for (const YamlValue& name : group.list()) groups.back().push_back(name.text().value_or(""));
    }
    return groups;
  }

  Read operator()(const Text&) const { return json_of(value_.text()); }

  Read operator()(const Device&) const {
    const std::optional<std::string> word = value_.text();
    if (!word) return {};
    if (const std::optional<DeviceChoice> device = device_choice(*word)) return Json(to_string(*device));
    value_.error(fmt::format("is '{}'; one of auto, cpu, cuda, cuda:1 is needed", *word));
    return {};
  }

  Read operator()(const Path& type) const {
    if (!type.several) return json_of(path(value_));
    Json paths = Json::array();
    const std::vector<YamlValue> entries = value_.is_list() ? value_.list() : std::vector{value_};
    for (const YamlValue& entry : entries) {
      if (const auto found = path(entry)) paths.push_back(*found);
    }
    return paths;
  }

  Read operator()(const Folder&) const {
    const std::optional<fs::path> path = user_path(value_);
    return path ? Read(Json(path->string())) : std::nullopt;
  }

  Read operator()(const FileName& type) const { return Json(file_name(value_, type.ending)); }

  Read operator()(const Names&) const {
    Json names = Json::object();
    for_each_entry(value_, [&](const std::string& name, const YamlValue& other) {
      names[name] = other.text().value_or("");
    });
    return names;
  }

  Read operator()(const FileNames& type) const {
    Json files = Json::object();
    for_each_entry(value_, [&](const std::string& name, const YamlValue& value) {
      const std::string file = file_name(value, type.ending);
      if (std::find(files.begin(), files.end(), file) != files.end())
        value.error(fmt::format("is '{}', which another layer is saved to; file names must differ", file));
      files[name] = file;
    });
    return files;
  }

 private:
  [[nodiscard]] std::optional<std::string> path(const YamlValue& value) const {
    const std::optional<fs::path> given = user_path(value);
    if (!given) return {};
    return (folder_ / *given).string();  // an absolute one stays what it is
  }

  const YamlValue& value_;
  const fs::path& folder_;
};

std::string range(std::int64_t low, std::int64_t high) {
  return high == std::numeric_limits<std::int64_t>::max() ? fmt::format("from {}", low)
                                                          : fmt::format("{} to {}", low, high);
}

std::string or_word(const std::string& text, const std::string& word) {
  return word.empty() ? text : fmt::format("{}, or `{}`", text, word);
}

struct Teller {
  std::string operator()(const Section&) const { return "a mapping"; }
  std::string operator()(const Axes&) const { return "a mapping of keys to lists of values"; }
  std::string operator()(const WholeNumber& t) const { return or_word(range(t.low, t.high), t.word); }
  std::string operator()(const Sizes& t) const {
    return or_word(range(t.low, t.high) + ", or a list", t.word);
  }
  std::string operator()(const Number& t) const { return fmt::format("{} to {}", t.low, t.high); }
  std::string operator()(const Channels& t) const {
    return fmt::format("three numbers, {} to {}", t.low, t.high);
  }
  std::string operator()(const Extent& t) const {
    return or_word(fmt::format("a number or [height, width], {}", range(t.low, t.high)), t.word);
  }
  std::string operator()(const Choice& t) const { return fmt::format("`{}`", fmt::join(t.words, "`, `")); }
  std::string operator()(const Groups& t) const {
    return fmt::format("`{}`, or lists of names", fmt::join(t.words, "`, `"));
  }
  std::string operator()(const Text&) const { return "a word"; }
  std::string operator()(const Device&) const { return "`auto`, `cpu`, `cuda`, `cuda:1`, ..."; }
  std::string operator()(const Path& t) const { return t.several ? "a path, or a list" : "a path"; }
  std::string operator()(const Folder&) const { return "a folder"; }
  std::string operator()(const FileName& t) const { return "a file name, `" + t.ending + "`"; }
  std::string operator()(const Names&) const { return "{name: name}"; }
  std::string operator()(const FileNames& t) const { return "{name: file name, `" + t.ending + "`}"; }
};

}  // namespace

Read read(const Type& type, const YamlValue& value, const fs::path& folder) {
  return std::visit(Reader(value, folder), type);
}

std::string told(const Type& type) { return std::visit(Teller{}, type); }

}  // namespace halotile::config
