#include "sweeping/store_columns.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

#include "patching/error.hpp"

namespace halotile {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LayerRecord, name, kind, milliseconds, flops, bytes, launches)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(StageRecord, name, rows, columns, flops, recomputed_flops)

namespace {

using Json = nlohmann::json;

constexpr std::array statuses{"ok", "different", "error"};  // in the order of PointStatus

enum class Type : std::uint8_t { integer, number, text, json };

// One column: how it is called and kept, and where it lies in a record.
struct Column {
  const char* name;
  Type type;
  Json (*get)(const PointRecord&);
  void (*set)(PointRecord&, const Json&);
};

template <std::size_t count>
std::int64_t index_of(const std::array<const char*, count>& words, const Json& word) {
  const auto found = std::find(words.begin(), words.end(), word.get<std::string>());
  if (found == words.end())
    throw DamagedColumn(fmt::format("holds the unknown word '{}'", word.get<std::string>()));
  return found - words.begin();
}

template <typename Field>
constexpr Type type_of() {
  if (std::is_integral_v<Field>) return Type::integer;
  if (std::is_floating_point_v<Field>) return Type::number;
  return std::is_same_v<Field, std::string> ? Type::text : Type::json;
}

// A column that is a member of the record, or of its timing.
template <auto field>
Column column(const char* name) {
  using Field = std::remove_reference_t<decltype(std::declval<PointRecord>().*field)>;
  return {name, type_of<Field>(), [](const PointRecord& p) { return Json(p.*field); },
          [](PointRecord& p, const Json& j) { j.get_to(p.*field); }};
}
template <auto field>
Column timing(const char* name) {
  using Field = std::remove_reference_t<decltype(std::declval<Timing>().*field)>;
  return {name, type_of<Field>(), [](const PointRecord& p) { return Json(p.timing.*field); },
          [](PointRecord& p, const Json& j) { j.get_to(p.timing.*field); }};
}

using P = PointRecord;

const std::array columns{
    column<&P::config_hash>("config_hash"),
    column<&P::machine>("machine"),
    column<&P::sweep>("sweep"),
    column<&P::sequence>("sequence"),
    column<&P::settings>("settings"),
    Column{"status", Type::text, [](const P& p) { return Json(to_string(p.status)); },
           [](P& p, const Json& j) { p.status = static_cast<PointStatus>(index_of(statuses, j)); }},
    column<&P::message>("message"),
    column<&P::started>("started"),
    column<&P::seconds>("seconds"),
    timing<&Timing::median>("median_ms"),
    timing<&Timing::q1>("q1_ms"),
    timing<&Timing::q3>("q3_ms"),
    timing<&Timing::low>("low_ms"),
    timing<&Timing::high>("high_ms"),
    Column{"stop", Type::text, [](const P& p) { return Json(to_string(p.timing.stop)); },
           [](P& p, const Json& j) { p.timing.stop = static_cast<StopReason>(index_of(stop_words, j)); }},
    timing<&Timing::samples>("samples_ms"),
    column<&P::network>("network"),
    column<&P::engine>("engine"),
    column<&P::device>("device"),
    column<&P::images>("images"),
    column<&P::halo_flops_share>("halo_flops_share"),
    column<&P::layers>("layers"),
    column<&P::stages>("stages"),
    column<&P::stream_busy_share>("stream_busy_share"),
    column<&P::host_idle_ms>("host_idle_ms"),
    column<&P::map_bytes>("map_bytes"),
    column<&P::scratch_bytes>("scratch_bytes"),
    column<&P::peak_memory_bytes>("peak_memory_bytes"),
    column<&P::disturbances>("disturbances"),
    column<&P::weights_hash>("weights_hash"),
    column<&P::input_hash>("input_hash"),
    column<&P::logits_hash>("logits_hash"),
    column<&P::verified_elements>("verified_elements"),
    column<&P::different_elements>("different_elements"),
    column<&P::config>("config")};

std::string definition(const Column& c) {
  switch (c.type) {
    case Type::integer:
      return fmt::format("{} INTEGER", c.name);
    case Type::number:
      return fmt::format("{} REAL", c.name);
    default:
      return fmt::format("{} TEXT", c.name);
  }
}

Json value_of(const SqliteRow& row, int place, Type type) {
  switch (type) {
    case Type::integer:
      return row.integer(place);
    case Type::number:
      return row.number(place);
    case Type::text:
      return row.text(place);
    case Type::json:
      break;
  }
  return Json::parse(row.text(place));
}

}  // namespace

const char* to_string(PointStatus status) { return statuses.at(static_cast<std::size_t>(status)); }

std::vector<std::string> point_columns() {
  std::vector<std::string> names;
  for (const Column& c : columns) names.emplace_back(c.name);
  return names;
}

std::string point_table() {
  std::string sql = "CREATE TABLE point (id INTEGER PRIMARY KEY";
  for (const Column& c : columns) sql += ", " + definition(c);
  return sql +
         ", UNIQUE (config_hash, machine), FOREIGN KEY (machine) REFERENCES machine,"
         " FOREIGN KEY (sweep) REFERENCES sweep)";
}

std::string point_insertion() {
  const std::vector<std::string> marks(columns.size(), "?");
  return fmt::format("INSERT INTO point ({}) VALUES ({}) ON CONFLICT (config_hash, machine) DO NOTHING",
                     fmt::join(point_columns(), ", "), fmt::join(marks, ", "));
}

std::string point_selection() {
  return fmt::format("SELECT {} FROM point ORDER BY sweep, sequence, id", fmt::join(point_columns(), ", "));
}

std::vector<SqliteDatabase::Value> point_values(const PointRecord& point) {
  std::vector<SqliteDatabase::Value> values;
  for (const Column& c : columns) {
    const Json value = c.get(point);
    switch (c.type) {
      case Type::integer:
        values.emplace_back(value.get<std::int64_t>());
        break;
      case Type::number:
        values.emplace_back(value.get<double>());
        break;
      case Type::text:
        values.emplace_back(value.get<std::string>());
        break;
      case Type::json:
        values.emplace_back(value.dump(-1, ' ', false, Json::error_handler_t::replace));
        break;
    }
  }
  return values;
}

PointRecord point_of(const SqliteRow& row) {
  PointRecord point;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const Column& c = columns[i];
    try {
      c.set(point, value_of(row, static_cast<int>(i), c.type));
    } catch (const DamagedColumn& e) {
      throw DamagedColumn(fmt::format("column {} of a point {}", c.name, e.what()));
    } catch (const Json::exception&) {
      throw DamagedColumn(
          fmt::format("column {} of a point does not hold the JSON that belongs there", c.name));
    }
  }
  for (const auto& [name, value] :
       {std::pair("settings", &point.settings), std::pair("config", &point.config)}) {
    if (!value->is_object()) throw DamagedColumn(fmt::format("column {} of a point holds no mapping", name));
  }
  return point;
}

nlohmann::json json_column(const SqliteRow& row, int place, const char* name, Json::value_t type) {
  Json json = Json::parse(row.text(place), nullptr, false);
  if (json.type() != type)
    throw DamagedColumn(fmt::format("column {} does not hold the JSON that belongs there", name));
  return json;
}

nlohmann::json point_json(const PointRecord& point) {
  Json json = Json::object();
  for (const Column& c : columns) json[c.name] = c.get(point);
  return json;
}

}  // namespace halotile
