// Where a tile keeps what lies between its steps: one tile at a time, of any stage.
#pragma once

#include <deque>
#include <vector>

#include "pipeline/running/memory_plan.hpp"
#include "pipeline/running/placement.hpp"

namespace halotile {

/// Of every stage, what each call of a tile's work writes that later ones read, and each call's scratch.
/// Places stay where they are; they know their bytes and offsets when lay_out() is through.
class TileMemory {
 public:
  explicit TileMemory(Space& space) : space_(space) {}

  [[nodiscard]] Space& space() { return space_; }
  /// What call number `call` of a tile of stage `stage` writes; `last_reader` is the last call that reads it.
  [[nodiscard]] Place& output(std::size_t stage, std::size_t call, std::size_t last_reader);
  [[nodiscard]] Place& scratch(std::size_t stage, std::size_t call) { return of(stage, call).scratch; }

  /// Gives the places of a stage their offsets, `shift` bytes into the space. Returns the bytes of a tile.
  std::size_t lay_out(std::size_t stage, std::size_t shift = 0);
  /// All stages; the space then has the bytes that the largest needs.
  void lay_out();
  /// Takes over what `other` knows of a stage, `shift` bytes further into the space.
  void copy(std::size_t stage, TileMemory& other, std::size_t shift);

 private:
  struct Call {
    Place output;
    Place scratch;
    std::size_t last_reader = 0;  // of the output
  };

  [[nodiscard]] Call& of(std::size_t stage, std::size_t call);

  Space& space_;
  std::deque<std::deque<Call>> stages_;
};

}  // namespace halotile
