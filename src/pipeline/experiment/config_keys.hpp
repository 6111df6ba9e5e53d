// The keys of a config, one row each: from this table follow the reader, overrides and axes, the JSON of
// results, what makes two measurements the same one, what an unpatched run is, and the table in
// docs/config.md.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/experiment/config.hpp"
#include "pipeline/experiment/config_types.hpp"

namespace halotile::config {

struct Key {
  std::string_view name;  ///< "patch.size"
  Type type{};
  /// It must be there when its section is; where there are alternatives, exactly one of them.
  bool required = false;
  std::string_view example{};  ///< of it in a config, for messages; in its section's mapping
  /// The first of keys of a section of which a config has one at most. An override of one drops the others.
  std::string_view instead_of{};
  std::string_view together_with{};  ///< a key beside it: both or neither
  /// A key beside it without which it has its default. An override that drops that key drops this one, too,
  /// unless it decides results: then it is told.
  std::string_view needs{};
  std::string_view unmet{};  ///< what is said without it
  /// Whether another value makes another measurement: those that do not say where results go, how long
  /// measuring takes, and what is told.
  bool decides_result = true;
  bool patching = false;  ///< an unpatched run has its default
  /// What is wrong with its value beside those of others; empty when nothing is.
  std::string (*problem)(const Experiment&) = nullptr;
  /// Its value in the form of read(), null when the experiment has none; sections and axes have neither.
  nlohmann::json (*get)(const Experiment&) = nullptr;
  /// Throws what the library of JSON throws for values of other types, ConfigError for unknown words.
  void (*set)(Experiment&, const nlohmann::json&) = nullptr;
  std::string_view before{};    ///< what JSON from before the key means, where that is not the default
  std::string_view fallback{};  ///< the default in words, where its value does not say it
  std::string_view meaning{};   ///< in Markdown
};

/// In the order of reading: sections before what is in them.
[[nodiscard]] std::span<const Key> keys();
/// Of a section, or of a config as a whole.
[[nodiscard]] std::vector<const Key*> keys_of(std::string_view section);
/// The keys of a group of alternatives; none where there are no others.
[[nodiscard]] std::vector<const Key*> alternatives(const Key& first);
/// "size" of patch.size.
[[nodiscard]] std::string last_name(std::string_view name);
[[nodiscard]] nlohmann::json::json_pointer place_in_json(std::string_view name);
[[nodiscard]] nlohmann::json default_of(const Key& key);

// `name` may be a key, a section, a part of a key's value, or unknown.

/// Whether values of this key are paths of files to read.
[[nodiscard]] bool names_files(std::string_view name);
/// Whether they are paths, to read or to write: ~ is a home folder there.
[[nodiscard]] bool names_paths(std::string_view name);
[[nodiscard]] bool is_required(std::string_view name);
/// Whether a config has one of the two at most.
[[nodiscard]] bool exclude_each_other(std::string_view name, std::string_view other);
/// Keys that an override of this one drops.
[[nodiscard]] std::vector<std::string> dropped_by(std::string_view name);
/// Whether it is a part of what makes two measurements the same one.
[[nodiscard]] bool decides_result(std::string_view name);

/// The keys that make two measurements the same one, as to_json() has them.
[[nodiscard]] nlohmann::json deciding_json(const Experiment& experiment);

/// The same experiment, unpatched on one stream.
[[nodiscard]] Experiment unpatched(Experiment experiment);
/// Of a config in JSON, here or from an earlier version.
[[nodiscard]] bool is_unpatched(const nlohmann::json& config);
/// What a run and its unpatched one have in common.
[[nodiscard]] nlohmann::json without_patching(nlohmann::json config);

/// The table of docs/config.md, in Markdown.
[[nodiscard]] std::string key_table();
/// The same for programs: a list of objects with key, values, default and meaning.
[[nodiscard]] nlohmann::json key_list();

}  // namespace halotile::config
