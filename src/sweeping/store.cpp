#include "sweeping/store.hpp"

#include <fmt/format.h>

#include <array>

#include "formats/printable.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/hash.hpp"
#include "sweeping/process.hpp"
#include "sweeping/sqlite_database.hpp"
#include "sweeping/store_columns.hpp"

namespace halotile {
namespace {

namespace fs = std::filesystem;
using JsonType = nlohmann::json::value_t;

constexpr std::int64_t application_id = 0x48616c6f;  // "Halo"
constexpr std::int64_t version = 1;

constexpr std::array schema{
    "CREATE TABLE machine (id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, provenance TEXT NOT NULL)",
    "CREATE TABLE ceiling (machine INTEGER NOT NULL REFERENCES machine, device TEXT NOT NULL,"
    " precision TEXT NOT NULL, flops_per_second REAL, bytes_per_second REAL, copy_bytes_per_second REAL,"
    " PRIMARY KEY (machine, device, precision))",
    "CREATE TABLE sweep (id INTEGER PRIMARY KEY, machine INTEGER NOT NULL REFERENCES machine, name TEXT,"
    " axes TEXT, config TEXT, started TEXT, finished TEXT NOT NULL DEFAULT '', points INTEGER)",
    "CREATE TABLE drift (sweep INTEGER NOT NULL REFERENCES sweep, sequence INTEGER, time TEXT,"
    " median_ms REAL, low_ms REAL, high_ms REAL)",
    "CREATE TABLE claim (config_hash TEXT NOT NULL, machine INTEGER NOT NULL REFERENCES machine,"
    " place TEXT, pid INTEGER, start INTEGER, PRIMARY KEY (config_hash, machine))"};

std::string json_of(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Reads rows that halotile wrote itself.
template <typename Read>
void query(const SqliteDatabase& database, const std::string& sql, const Read& read) {
  database.query(sql, {}, [&](const SqliteRow& row) {
    try {
      read(row);
    } catch (const DamagedColumn& e) {
      throw StoreError(fmt::format(
          "{} is damaged ({}); go back to a copy, or delete that row with sqlite3 and sweep again",
          shown_path(database.file()), e.what()));
    }
  });
}

void make_folder(const fs::path& file) {
  std::error_code error;
  if (file.has_parent_path()) fs::create_directories(file.parent_path(), error);
  if (error) {
    throw StoreError(fmt::format("{} cannot be made: its folder cannot be ({}); choose another place",
                                 shown_path(file), error.message()));
  }
}

bool is_empty(const SqliteDatabase& database) {
  return database.integer("PRAGMA application_id") == 0 &&
         database.integer("SELECT count(*) FROM sqlite_master") == 0;
}

void refuse_folder(const fs::path& file) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (fs::is_directory(status))
    throw StoreError(fmt::format("{} is a folder; add a file name", shown_path(file)));
  if (!fs::status_known(status)) {
    throw StoreError(
        fmt::format("{} cannot be examined: {}; choose another file", shown_path(file), error.message()));
  }
}

void check(const SqliteDatabase& database) {
  const std::string file = shown_path(database.file());
  if (database.integer("PRAGMA application_id") != application_id)
    throw StoreError(fmt::format("{} is no store of halotile; name another file", file));
  const std::int64_t found = database.integer("PRAGMA user_version");
  if (found > version) {
    throw StoreError(
        fmt::format("{} is a store of version {}, this halotile knows version {}; use a later halotile", file,
                    found, version));
  }
}

void make_tables(const SqliteDatabase& database) {
  database.transact([&] {
    if (!is_empty(database)) return;  // another process was first
    for (const char* const table : schema) database.execute(table);
    database.execute(point_table());
    database.execute(fmt::format("PRAGMA application_id = {}", application_id));
    database.execute(fmt::format("PRAGMA user_version = {}", version));
  });
}

std::unique_ptr<SqliteDatabase> open_to_write(const fs::path& file) {
  refuse_folder(file);
  make_folder(file);
  auto database = std::make_unique<SqliteDatabase>(file, SqliteDatabase::Open::write);
  const bool empty = is_empty(*database);
  if (!empty) check(*database);
  if (database->read_only()) {
    throw StoreError(fmt::format(
        "{} cannot be written: the file or its folder is read-only; choose one this user may write to",
        shown_path(file)));
  }
  database->use_log();
  database->execute("PRAGMA foreign_keys = ON");
  if (empty) make_tables(*database);
  check(*database);
  return database;
}

std::unique_ptr<SqliteDatabase> open_to_read(const fs::path& file) {
  refuse_folder(file);
  std::error_code none;
  if (!fs::exists(file, none))
    throw StoreError(fmt::format("{}: there is no such store; `halotile sweep` makes one", shown_path(file)));
  const auto open = [&](SqliteDatabase::Open how) {
    auto database = std::make_unique<SqliteDatabase>(file, how);
    if (is_empty(*database))
      throw StoreError(fmt::format("{} is empty; `halotile sweep` fills stores", shown_path(file)));
    check(*database);
    return database;
  };
  fs::path log = file;
  log += "-wal";
  // Reading a store with a log needs a shared index beside it. Where nothing may be written and no log is
  // left, there is no writer either, and the file alone is all.
  const bool log_left = fs::exists(log, none) && fs::file_size(log, none) > 0;
  try {
    return open(SqliteDatabase::Open::read);
  } catch (const StoreError&) {
    if (log_left) throw;
  }
  return open(SqliteDatabase::Open::immutable);
}

}  // namespace

class Store::Database {
 public:
  Database(const fs::path& file, Mode mode)
      : sqlite(mode == Mode::read_write ? open_to_write(file) : open_to_read(file)) {}

  std::unique_ptr<SqliteDatabase> sqlite;
  ProcessName self = this_process();
};

Store::Store(const fs::path& file, Mode mode) : database_(std::make_unique<Database>(file, mode)) {}
Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

std::int64_t Store::add_machine(const nlohmann::json& provenance) {
  const SqliteDatabase& db = *database_->sqlite;
  const std::string text = json_of(provenance);
  const std::string hash = hash_text(text);
  std::int64_t id = 0;
  db.transact([&] {
    db.execute("INSERT INTO machine (hash, provenance) VALUES (?, ?) ON CONFLICT DO NOTHING", {hash, text});
    id = db.integer("SELECT id FROM machine WHERE hash = ?", {hash});
  });
  return id;
}

std::int64_t Store::add_sweep(const SweepRecord& sweep, std::int64_t machine) {
  const SqliteDatabase& db = *database_->sqlite;
  const std::string axes = json_of(sweep.axes);
  const std::string config = json_of(sweep.config);
  std::int64_t id = 0;
  db.transact([&] {
    id = db.integer(
        "SELECT id FROM sweep WHERE machine = ? AND axes = ? AND config = ? AND finished = '' ORDER BY id",
        {machine, axes, config});
    if (id != 0) return;
    db.execute("INSERT INTO sweep (machine, name, axes, config, started, points) VALUES (?, ?, ?, ?, ?, ?)",
               {machine, sweep.name, axes, config, sweep.started, sweep.points});
    id = db.last_id();
  });
  return id;
}

void Store::finish_sweep(std::int64_t sweep, const std::string& time) {
  database_->sqlite->execute("UPDATE sweep SET finished = ? WHERE id = ?", {time, sweep});
}

bool Store::add_point(const PointRecord& point) {
  const SqliteDatabase& db = *database_->sqlite;
  bool added = false;
  db.transact([&] {
    added = db.execute(point_insertion(), point_values(point)) == 1;
    db.execute("DELETE FROM claim WHERE config_hash = ? AND machine = ?", {point.config_hash, point.machine});
  });
  return added;
}

void Store::add_drift(const DriftSample& d) {
  database_->sqlite->execute("INSERT INTO drift VALUES (?, ?, ?, ?, ?, ?)",
                             {d.sweep, d.sequence, d.time, d.median_ms, d.low_ms, d.high_ms});
}

void Store::set_ceiling(const Ceiling& c) {
  database_->sqlite->execute(
      "INSERT OR REPLACE INTO ceiling VALUES (?, ?, ?, ?, ?, ?)",
      {c.machine, c.device, c.precision, c.flops_per_second, c.bytes_per_second, c.copy_bytes_per_second});
}

bool Store::claim(const std::string& config_hash, std::int64_t machine) {
  const SqliteDatabase& db = *database_->sqlite;
  const ProcessName& self = database_->self;
  bool ours = false;
  db.transact([&] {
    if (db.integer("SELECT count(*) FROM point WHERE config_hash = ? AND machine = ?",
                   {config_hash, machine}) > 0)
      return;
    ProcessName owner = self;
    db.query("SELECT place, pid, start FROM claim WHERE config_hash = ? AND machine = ?",
             {config_hash, machine}, [&](const SqliteRow& row) {
               owner = {row.text(0), row.integer(1), row.integer(2)};
             });
    ours = owner == self || !alive(owner);
    if (!ours) return;
    db.execute("INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?)",
               {config_hash, machine, self.place, self.pid, self.start});
  });
  return ours;
}

std::set<std::string> Store::finished(std::int64_t machine) const {
  std::set<std::string> hashes;
  database_->sqlite->query("SELECT config_hash FROM point WHERE machine = ?", {machine},
                           [&](const SqliteRow& row) { hashes.insert(row.text(0)); });
  return hashes;
}

std::vector<PointRecord> Store::points() const {
  std::vector<PointRecord> points;
  query(*database_->sqlite, point_selection(),
        [&](const SqliteRow& row) { points.push_back(point_of(row)); });
  return points;
}

std::vector<MachineRecord> Store::machines() const {
  std::vector<MachineRecord> machines;
  query(*database_->sqlite, "SELECT id, hash, provenance FROM machine ORDER BY id",
        [&](const SqliteRow& row) {
          machines.push_back(
              {row.integer(0), row.text(1), json_column(row, 2, "provenance", JsonType::object)});
        });
  return machines;
}

std::vector<SweepRecord> Store::sweeps() const {
  std::vector<SweepRecord> sweeps;
  query(*database_->sqlite, "SELECT id, name, axes, config, started, finished, points FROM sweep ORDER BY id",
        [&](const SqliteRow& row) {
          sweeps.push_back({row.integer(0), row.text(1), json_column(row, 2, "axes", JsonType::array),
                            json_column(row, 3, "config", JsonType::object), row.text(4), row.text(5),
                            row.integer(6)});
        });
  return sweeps;
}

std::vector<DriftSample> Store::drift() const {
  std::vector<DriftSample> samples;
  database_->sqlite->query(
      "SELECT sweep, sequence, time, median_ms, low_ms, high_ms FROM drift ORDER BY rowid", {},
      [&](const SqliteRow& row) {
        samples.push_back(
            {row.integer(0), row.integer(1), row.text(2), row.number(3), row.number(4), row.number(5)});
      });
  return samples;
}

std::vector<Ceiling> Store::ceilings() const {
  std::vector<Ceiling> ceilings;
  database_->sqlite->query(
      "SELECT machine, device, precision, flops_per_second, bytes_per_second, copy_bytes_per_second"
      " FROM ceiling ORDER BY machine, device, precision",
      {}, [&](const SqliteRow& row) {
        ceilings.push_back(
            {row.integer(0), row.text(1), row.text(2), row.number(3), row.number(4), row.number(5)});
      });
  return ceilings;
}

}  // namespace halotile
