#include "program/command_export.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "formats/atomic_file.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/replaced_files.hpp"
#include "sweeping/store.hpp"
#include "sweeping/store_columns.hpp"

namespace halotile {
namespace {

std::string json_line(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// RFC 4180.
std::string cell(const nlohmann::json& value) {
  const std::string text = value.is_string() ? value.get<std::string>()
                           : value.is_null() ? ""
                                             : json_line(value);
  if (text.find_first_of("\",\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

std::string row(const std::vector<nlohmann::json>& values) {
  std::string line;
  for (const nlohmann::json& value : values)
    line += (line.empty() && &value == &values[0] ? "" : ",") + cell(value);
  return line + "\r\n";
}

// Settings first, a column each; then the store's columns.
std::string csv(const Store& store) {
  const std::vector<PointRecord> points = store.points();
  std::set<std::string> keys;
  for (const PointRecord& point : points) {
    for (const auto& [key, value] : point.settings.items()) keys.insert(key);
  }
  std::vector<nlohmann::json> head(keys.begin(), keys.end());
  for (const std::string& name : point_columns()) head.emplace_back(name);
  std::string text = row(head);
  for (const PointRecord& point : points) {
    std::vector<nlohmann::json> values;
    for (const std::string& key : keys) values.push_back(point.settings.value(key, nlohmann::json()));
    const nlohmann::json json = point_json(point);
    for (const std::string& name : point_columns()) values.push_back(json[name]);
    text += row(values);
  }
  return text;
}

// A point a line, each with what made it.
std::string json_lines(const Store& store) {
  std::map<std::int64_t, nlohmann::json> provenance;
  for (const MachineRecord& machine : store.machines()) provenance[machine.id] = machine.provenance;
  std::string text;
  for (const PointRecord& point : store.points()) {
    nlohmann::json json = point_json(point);
    json["provenance"] = provenance[point.machine];
    text += json_line(json) + "\n";
  }
  return text;
}

// For a terminal, which must not obey what settings hold; what it is piped into gets every byte.
std::string for_people(std::string text) {
  std::erase(text, '\r');  // of RFC 4180's line ends
  return printable_lines(text);
}

}  // namespace

void CommandExport::set_up(Options& options) {
  options.word("STORE", store_, "A store that sweeps filled");
  options.text("--format", format_, {"csv", "jsonl"}, "csv, or jsonl: a JSON object a line");
  options.path("-o,--output", file_, "The file to write (default: standard output)");
}

int CommandExport::run() {
  if (!file_.empty()) refuse_to_replace(files_of_store(store_), "--output", file_);
  const Store store(store_, Store::Mode::read_only);
  const std::string text = format_ == "csv" ? csv(store) : json_lines(store);
  if (file_.empty()) {
    print_text("{}", Verbatim{::isatty(STDOUT_FILENO) == 1 ? for_people(text) : text});
  } else {
    write_file_atomically(file_, text);
  }
  return exit_fine;
}

}  // namespace halotile
