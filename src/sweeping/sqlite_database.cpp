#include "sweeping/sqlite_database.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <new>
#include <thread>

#include "formats/printable.hpp"
#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds patience{60};
// A result that was finished when the user wanted to stop still gets past what others write at the moment.
constexpr std::chrono::milliseconds patience_when_stopped{500};

bool waited_enough(Clock::time_point start) {
  const Clock::duration waited = Clock::now() - start;
  return waited > patience || (stop_requested && waited > patience_when_stopped);
}

// Called by SQLite, again and again, with the number of calls before.
int on_busy(void* start, int calls) {
  auto& begin = *static_cast<Clock::time_point*>(start);
  if (calls == 0) begin = Clock::now();
  if (waited_enough(begin)) return 0;
  std::this_thread::sleep_for(std::chrono::milliseconds(std::min(calls + 1, 20)));
  return 1;
}

// As a URI, which alone can say that a file is immutable.
std::string immutable_uri(const std::filesystem::path& file) {
  std::string uri = "file:";
  for (const char c : file.string()) {
    if (c == '?' || c == '#' || c == '%') {
      uri += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      uri += c;
    }
  }
  return uri + "?immutable=1";
}

std::string message_of(int code, const char* text) {
  // SQLite forgets which error of the system it was; with limits on a user's files it is an I/O error.
  if (code == SQLITE_FULL || code == SQLITE_IOERR_WRITE || code == SQLITE_IOERR_SHMSIZE) {
    return "cannot be written: the disk is full or fails; free some space and start again, what is finished "
           "is kept";
  }
  switch (code & 0xff) {
    case SQLITE_READONLY:
    case SQLITE_PERM:
      return "cannot be written: the file or its folder is read-only; choose one this user may write to";
    case SQLITE_CANTOPEN:
      return "cannot be opened: it, or its folder, is not there or not this user's to write to; choose "
             "another";
    case SQLITE_NOTADB:
      return "is no store of halotile; name another file";
    case SQLITE_CORRUPT:
      return fmt::format("is damaged ({}); go back to a copy, or try sqlite3's .recover", text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "has been locked by another process for a minute; end that process, then start again";
    default:
      return fmt::format("cannot be used: {}; check the disk or choose another file", text);
  }
}

}  // namespace

std::int64_t SqliteRow::integer(int column) const { return sqlite3_column_int64(statement_, column); }

double SqliteRow::number(int column) const { return sqlite3_column_double(statement_, column); }

std::string SqliteRow::text(int column) const {
  const unsigned char* const text = sqlite3_column_text(statement_, column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

SqliteDatabase::SqliteDatabase(const std::filesystem::path& file, Open open) : file_(file) {
  // An absolute path is never taken for one of SQLite's special names.
  const std::filesystem::path path = std::filesystem::absolute(file);
  int status = SQLITE_OK;
  if (open == Open::immutable) {
    status = sqlite3_open_v2(immutable_uri(path).c_str(), &connection_,
                             SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, nullptr);
  } else {
    // Readers open for writing too: the last one to leave then removes the log and the shared index.
    const int create = open == Open::write ? SQLITE_OPEN_CREATE : 0;
    status = sqlite3_open_v2(path.c_str(), &connection_, SQLITE_OPEN_READWRITE | create, nullptr);
  }
  try {
    if (status != SQLITE_OK) fail();
    sqlite3_extended_result_codes(connection_, 1);
    sqlite3_busy_handler(connection_, on_busy, &waiting_since_);
    if (open == Open::read) execute("PRAGMA query_only = ON");
  } catch (...) {
    sqlite3_close_v2(connection_);
    throw;
  }
}

SqliteDatabase::~SqliteDatabase() { sqlite3_close_v2(connection_); }

void SqliteDatabase::query(std::string_view sql, const std::vector<Value>& values,
                           const std::function<void(const SqliteRow&)>& row) const {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(connection_, sql.data(), static_cast<int>(sql.size()), &raw, nullptr) != SQLITE_OK)
    fail();
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(raw, sqlite3_finalize);
  int place = 0;
  for (const Value& value : values) {
    ++place;
    int status = SQLITE_OK;
    if (const auto* integer = std::get_if<std::int64_t>(&value))
      status = sqlite3_bind_int64(raw, place, *integer);
    if (const auto* number = std::get_if<double>(&value)) status = sqlite3_bind_double(raw, place, *number);
    if (const auto* text = std::get_if<std::string>(&value))
      status = sqlite3_bind_text64(raw, place, text->data(), text->size(), SQLITE_STATIC, SQLITE_UTF8);
    if (status != SQLITE_OK) fail();
  }
  for (;;) {
    const int status = sqlite3_step(raw);
    if (status == SQLITE_DONE) return;
    if (status != SQLITE_ROW) fail();
    row(SqliteRow(raw));
  }
}

int SqliteDatabase::execute(std::string_view sql, const std::vector<Value>& values) const {
  query(sql, values, [](const SqliteRow&) {});
  return sqlite3_changes(connection_);
}

std::int64_t SqliteDatabase::integer(std::string_view sql, const std::vector<Value>& values) const {
  std::int64_t result = 0;
  query(sql, values, [&](const SqliteRow& row) { result = row.integer(0); });
  return result;
}

std::int64_t SqliteDatabase::last_id() const { return sqlite3_last_insert_rowid(connection_); }

void SqliteDatabase::transact(const std::function<void()>& work) const {
  execute("BEGIN IMMEDIATE");
  try {
    work();
    execute("COMMIT");
  } catch (...) {
    // Some errors have rolled back already.
    if (sqlite3_get_autocommit(connection_) == 0)
      sqlite3_exec(connection_, "ROLLBACK", nullptr, nullptr, nullptr);
    throw;
  }
}

void SqliteDatabase::use_log() const {
  using namespace std::chrono_literals;
  // SQLite does not wait by itself for others that are changing the same.
  const Clock::time_point start = Clock::now();
  while (sqlite3_exec(connection_, "PRAGMA journal_mode = WAL", nullptr, nullptr, nullptr) != SQLITE_OK) {
    if ((sqlite3_errcode(connection_) & 0xff) != SQLITE_BUSY || waited_enough(start)) fail();
    std::this_thread::sleep_for(20ms);
  }
  execute("PRAGMA synchronous = FULL");
}

bool SqliteDatabase::read_only() const { return sqlite3_db_readonly(connection_, "main") == 1; }

void SqliteDatabase::fail() const {
  if (connection_ == nullptr) throw std::bad_alloc();
  const int code = sqlite3_errcode(connection_) & 0xff;
  if (code == SQLITE_BUSY || code == SQLITE_LOCKED) throw_if_stopped();
  throw StoreError(
      fmt::format("{} {}", shown_path(file_),
                  message_of(sqlite3_extended_errcode(connection_), sqlite3_errmsg(connection_))));
}

}  // namespace halotile
