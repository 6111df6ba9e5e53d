// SQLite behind RAII: a connection, statements and transactions. Errors are StoreErrors that name the file
// and say what to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace halotile {

/// One row of an answer; columns are counted from 0. NULL reads as 0 or nothing.
class SqliteRow {
 public:
  explicit SqliteRow(sqlite3_stmt* statement) : statement_(statement) {}

  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] double number(int column) const;
  [[nodiscard]] std::string text(int column) const;

 private:
  sqlite3_stmt* statement_;
};

class SqliteDatabase {
 public:
  enum class Open : std::uint8_t {
    write,     ///< makes the file when it is missing
    read,      ///< changes nothing of what is stored; may tidy up behind a process that was killed
    immutable  ///< touches nothing, locks nothing: for places nobody can write to
  };
  using Value = std::variant<std::int64_t, double, std::string>;

  /// Waits up to a minute for others' locks, here and in every call, or until the user wants to stop. Throws
  /// StoreError or Interrupted, as every call does.
  SqliteDatabase(const std::filesystem::path& file, Open open);
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;
  ~SqliteDatabase();

  /// Runs one statement, `?` standing for the values, and hands each row of the answer to `row`.
  void query(std::string_view sql, const std::vector<Value>& values,
             const std::function<void(const SqliteRow&)>& row) const;
  /// The same without an answer; returns how many rows it changed.
  int execute(std::string_view sql, const std::vector<Value>& values = {}) const;
  /// The first column of the first row, 0 when there is none.
  [[nodiscard]] std::int64_t integer(std::string_view sql, const std::vector<Value>& values = {}) const;
  /// Of the last row that was added.
  [[nodiscard]] std::int64_t last_id() const;
  /// Does `work` in one transaction that may write: all of it is kept, or, when something is thrown, nothing.
  void transact(const std::function<void()>& work) const;

  /// Commits go to a write-ahead log from now on, which readers do not wait for, and reach the disk.
  void use_log() const;
  /// True when the file was to be written and cannot be.
  [[nodiscard]] bool read_only() const;
  [[nodiscard]] const std::filesystem::path& file() const { return file_; }

 private:
  [[noreturn]] void fail() const;

  std::filesystem::path file_;
  sqlite3* connection_ = nullptr;
  std::chrono::steady_clock::time_point waiting_since_;  // for a lock
};

}  // namespace halotile
