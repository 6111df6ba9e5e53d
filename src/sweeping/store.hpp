// The store: a SQLite file that keeps what sweeps measured. Write-ahead log, one transaction a point, so that
// a sweep killed at any moment loses nothing finished; several processes may write it at once.
//
// Tables: machine, ceiling, sweep, point, drift, claim. A point is identified by its config's hash and its
// machine; docs/sweeps.md lists the columns.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sweeping/record.hpp"

namespace halotile {

class Store {
 public:
  enum class Mode : std::uint8_t { read_only, read_write };

  /// read_write makes the file and its folder when they are missing. Throws StoreError (see
  /// patching/error.hpp) for what is no store, is one of a later version, cannot be opened or is full, with
  /// the remedy.
  Store(const std::filesystem::path& file, Mode mode);
  ~Store();
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;

  // Writing. Each call is one transaction, durable when it returns.

  /// The machine's id; the same for equal provenance, so leave out what changes from start to start.
  std::int64_t add_machine(const nlohmann::json& provenance);
  /// The sweep's id; that of the unfinished sweep with equal axes, config and machine when there is one.
  std::int64_t add_sweep(const SweepRecord& sweep, std::int64_t machine);
  void finish_sweep(std::int64_t sweep, const std::string& time);
  /// Keeps the point unless (config_hash, machine) is there already; tells whether it did. Its machine and
  /// sweep must have been added. Ends the claim on it.
  bool add_point(const PointRecord& point);
  void add_drift(const DriftSample& sample);
  void set_ceiling(const Ceiling& ceiling);
  /// Marks the point as being measured by this process, so that another process takes another one; false when
  /// somebody alive has it. Claims of processes that died are taken over.
  bool claim(const std::string& config_hash, std::int64_t machine);

  // Reading.

  [[nodiscard]] std::set<std::string> finished(std::int64_t machine) const;  ///< config hashes
  [[nodiscard]] std::vector<PointRecord> points() const;                     ///< by sweep, then sequence
  [[nodiscard]] std::vector<MachineRecord> machines() const;
  [[nodiscard]] std::vector<SweepRecord> sweeps() const;
  [[nodiscard]] std::vector<DriftSample> drift() const;
  [[nodiscard]] std::vector<Ceiling> ceilings() const;

 private:
  class Database;
  std::unique_ptr<Database> database_;
};

}  // namespace halotile
