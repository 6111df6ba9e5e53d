// The columns of the store's table of points: what one asks for is a column, what comes in lists is JSON.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "sweeping/record.hpp"
#include "sweeping/sqlite_database.hpp"

namespace halotile {

/// Statements on the table; insertion takes point_values() and leaves a point that is there already.
[[nodiscard]] std::string point_table();
[[nodiscard]] std::string point_insertion();
[[nodiscard]] std::string point_selection();

[[nodiscard]] std::vector<SqliteDatabase::Value> point_values(const PointRecord& point);
/// What halotile never wrote: a file that was damaged where SQLite does not notice.
class DamagedColumn : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// A column of JSON that must hold a list or a mapping (Json::value_t::array, ...). Throws DamagedColumn.
[[nodiscard]] nlohmann::json json_column(const SqliteRow& row, int place, const char* name,
                                         nlohmann::json::value_t type);

/// Of a row of point_selection(). Throws DamagedColumn.
[[nodiscard]] PointRecord point_of(const SqliteRow& row);

/// The names of the columns, in their order, and a point's values as JSON.
[[nodiscard]] std::vector<std::string> point_columns();
[[nodiscard]] nlohmann::json point_json(const PointRecord& point);

}  // namespace halotile
