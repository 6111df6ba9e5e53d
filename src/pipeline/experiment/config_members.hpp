// Keys whose values are members of an experiment: their form in JSON, and their words.
#pragma once

#include <fmt/format.h>

#include <array>
#include <type_traits>
#include <utility>

#include "patching/error.hpp"
#include "pipeline/experiment/config_keys.hpp"

namespace halotile {

template <>
inline constexpr std::array<std::string_view, 2> words_of<Storage>{"view", "packed"};
template <>
inline constexpr std::array<std::string_view, 3> words_of<Dispatch>{"streams", "graph", "batched"};
template <>
inline constexpr std::array<std::string_view, 2> words_of<MemoryMode>{"arena", "pool"};
template <>
inline constexpr std::array<std::string_view, 2> words_of<Interpolation>{"bilinear", "bicubic"};
template <>
inline constexpr std::array<std::string_view, 2> words_of<ResizeOrder>{"pillow13", "pillow12"};
template <>
inline constexpr std::array<std::string_view, 2> words_of<OnError>{"stop", "skip"};

namespace config {

using Json = nlohmann::json;

// What a member of an experiment is in JSON, and back.

template <typename Value>
struct Form {
  static Json json(const Value& value) { return value; }
  static void read(Value& value, const Json& json) { json.get_to(value); }
};

template <typename Value>
requires std::is_enum_v<Value>
struct Form<Value> {
  static Json json(Value value) { return std::string(word(value)); }
  static void read(Value& value, const Json& json) {
    const std::optional<Value> known = choice_of<Value>(json.get_ref<const std::string&>());
    if (!known) throw ConfigError(fmt::format("'{}' is no word that this version knows", json.dump()));
    value = *known;
  }
};

template <typename Value>
struct Form<std::optional<Value>> {
  static Json json(const std::optional<Value>& value) { return value ? Form<Value>::json(*value) : "auto"; }
  static void read(std::optional<Value>& value, const Json& json) {
    value.reset();
    if (json != "auto") Form<Value>::read(value.emplace(), json);
  }
};

template <>
struct Form<DeviceChoice> {
  static Json json(const DeviceChoice& device) { return to_string(device); }
  static void read(DeviceChoice& device, const Json& json) {
    const std::optional<DeviceChoice> known = device_choice(json.get_ref<const std::string&>());
    if (!known) throw ConfigError(fmt::format("{} is no device that this version knows", json.dump()));
    device = *known;
  }
};

template <>
struct Form<std::filesystem::path> {
  static Json json(const std::filesystem::path& path) { return path.string(); }
  static void read(std::filesystem::path& path, const Json& json) { path = json.get<std::string>(); }
};

template <>
struct Form<Extent2> {
  static Json json(Extent2 extent) { return {extent.height, extent.width}; }
  static void read(Extent2& extent, const Json& json) {
    extent = {json.at(0).get<std::int64_t>(), json.at(1).get<std::int64_t>()};
  }
};

template <auto first, auto... rest, typename Object>
auto& member_of(Object& object) {
  if constexpr (sizeof...(rest) == 0) {
    return object.*first;
  } else {
    return member_of<rest...>(object.*first);
  }
}

template <auto... members>
using MemberOf = std::remove_cvref_t<decltype(member_of<members...>(std::declval<Experiment&>()))>;

// A key that is a member of the experiment, or of its member.
template <auto... members>
Key member(Key key) {
  using Value = MemberOf<members...>;
  key.get = [](const Experiment& e) { return Form<Value>::json(member_of<members...>(e)); };
  key.set = [](Experiment& e, const Json& json) { Form<Value>::read(member_of<members...>(e), json); };
  return key;
}

template <typename Value>
struct WordsOf {
  static std::vector<std::string> list() { return {words_of<Value>.begin(), words_of<Value>.end()}; }
};
template <typename Value>
struct WordsOf<std::optional<Value>> {
  static std::vector<std::string> list() {
    std::vector<std::string> words = WordsOf<Value>::list();
    words.insert(words.begin(), "auto");
    return words;
  }
};

// One that takes the words of its member.
template <auto... members>
Key choice(Key key) {
  key.type = Choice{WordsOf<MemberOf<members...>>::list()};
  return member<members...>(std::move(key));
}

// One of two words, for false and true.
using TwoWords = std::array<std::string_view, 2>;

template <const TwoWords& words, auto... members>
Key flag(Key key) {
  key.type = Choice{{words.begin(), words.end()}};
  key.get = [](const Experiment& e) -> Json {
    return std::string(words.at(member_of<members...>(e) ? 1 : 0));
  };
  key.set = [](Experiment& e, const Json& json) { member_of<members...>(e) = json == std::string(words[1]); };
  return key;
}

}  // namespace config
}  // namespace halotile
