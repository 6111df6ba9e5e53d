// Which engines there are: one table, from which the choice of an engine, plans, `info`, `verify` and reports
// follow. It is the same in every build and on every machine.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/engines/engine.hpp"
#include "kernels/engines/kinds.hpp"
#include "kernels/engines/registry/cuda_engines.hpp"

namespace halotile {

/// What an engine is made with; each takes what it knows.
struct EngineOptions {
  Precision precision = Precision::fp32;
  int gpu = 0;      ///< index
  int threads = 1;  ///< inside each stream, on the CPU
  DirectStage direct_stage = DirectStage::automatic;
};

struct EngineEntry {
  EngineKind kind = EngineKind::onednn;
  DeviceKind device = DeviceKind::cpu;
  std::span<const Precision> precisions;
  bool promises_bits = false;  ///< equal bits for every patching: by construction, or else only measured
  std::string_view bits;       ///< what that rests on, a sentence without its full stop
  std::string (*obstacle)(const Op& op) = nullptr;  ///< Engine::obstacle(), without an engine
  std::string (*missing)() = nullptr;               ///< why it is not in this build; empty: it is
  std::unique_ptr<Engine> (*make)(const EngineOptions& options) = nullptr;  ///< throws UnsupportedError

  [[nodiscard]] std::string_view name() const { return word(kind); }
  [[nodiscard]] bool has(Precision precision) const;
  [[nodiscard]] bool supports(const Op& op) const { return obstacle(op).empty(); }
};

/// All, in the order of EngineKind.
[[nodiscard]] std::span<const EngineEntry> all_engines();
[[nodiscard]] const EngineEntry& entry_of(EngineKind kind);
/// The entry of an engine's name; null for one that is not in the table.
[[nodiscard]] const EngineEntry* find_engine(std::string_view name);
/// What engine: auto takes on a device: the first that has the precision, or where none has it the first.
[[nodiscard]] const EngineEntry& default_engine(DeviceKind device, Precision precision);
/// "Equal bits are promised by engine direct: ..." or "... measured, not promised, ...".
[[nodiscard]] std::string bits_statement(const EngineEntry& engine);

}  // namespace halotile
