// A program: the instructions of a run, and the loop that queues them on streams. The loop waits, traces,
// runs and times; what an instruction does and why it waits is its maker's business (lowering.hpp).
//
// Instructions are made once and kept, unless they are many: then they are made again in every run, wave by
// wave, each while the one before it runs, and no more than two waves are ever held.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/devices/trace_range.hpp"
#include "kernels/engines/engine.hpp"
#include "pipeline/running/order.hpp"
#include "pipeline/running/placement.hpp"
#include "pipeline/running/run_times.hpp"

namespace halotile {

/// What a piece of work reads and writes, for those who check the order of instructions.
struct Access {
  PlacedMap map;
  bool write = false;
};

/// Something to do on a stream: a launch, a copy, a transfer, an account. Prepared once, run often.
class Work {
 public:
  virtual ~Work() = default;
  /// When all memory that outlives a run is there, before the first run.
  virtual void prepare(Engine&) {}
  virtual void run(Stream& stream) = 0;
  [[nodiscard]] virtual std::vector<Access> accesses() const { return {}; }
};

/// Work that is a function call: run(stream).
template <std::invocable<Stream&> Run>
class CallWork final : public Work {
 public:
  CallWork(Run run, std::vector<Access> accesses) : run_(std::move(run)), accesses_(std::move(accesses)) {}
  void run(Stream& stream) override { run_(stream); }
  [[nodiscard]] std::vector<Access> accesses() const override { return accesses_; }

 private:
  Run run_;
  std::vector<Access> accesses_;
};

/// Whose clock times a piece.
enum class PieceClock : std::uint8_t { none, stream, host };

/// A piece of an instruction: work, and where its time goes.
struct Piece {
  Work* work = nullptr;
  std::size_t line = 0;  ///< of RunTimes, unless it has no clock
  PieceClock clock = PieceClock::stream;
  RangeLabel::Role role = RangeLabel::Role::other;  ///< of its range in traces; other: none of its own
  TileKey key = {};                                 ///< of that range
};

/// Names an instruction in traces; the text is made when somebody listens.
struct InstructionLabel {
  enum class Kind : std::uint8_t { tile, block, part, chunk, run };
  Kind kind = Kind::run;
  std::uint32_t layer = 0;  ///< number of the program's name of its stage
  const char* what = "";    ///< "upload", "borders"; of tiles and blocks nothing
  TileKey key = {};         ///< of its first image; of parts and blocks: row and column are their numbers
  std::int64_t images = 0;
};

/// One piece of work, or several in a row, on one stream, and the instructions of other streams that come
/// first.
struct Instruction {
  std::uint32_t first_piece = 0;
  std::uint32_t pieces = 0;
  std::uint32_t first_wait = 0;
  std::uint32_t waits = 0;
  std::int32_t stream = 0;
  bool awaited = false;  ///< another stream waits for it
  InstructionLabel label;
};

class Program {
 public:
  /// What a wave holds: some 15 MB, and enough that the streams' waiting for each other at its end is
  /// nothing.
  static constexpr std::size_t wave_size = 8192;

  explicit Program(RunTimes& times) : times_(times) {}

  // Making it:

  /// May be made in waves of so many instructions when it has more; never what is replayed or prepared.
  void allow_waves(std::size_t size = wave_size) { most_held_ = size; }
  /// Its instructions did not fit into one: it must be made anew in every run, between begin() and end().
  [[nodiscard]] bool in_waves() const { return in_waves_; }
  /// Streams: those that compute, and behind them those for what goes beside.
  void set_streams(std::size_t streams);
  [[nodiscard]] std::uint32_t add_name(std::string name);
  /// Keeps the work for as long as the program.
  template <typename Kind, typename... Values>
  Kind* make(Values&&... values) {
    auto work = std::make_unique<Kind>(std::forward<Values>(values)...);
    Kind* const made = work.get();
    made_.works.push_back(std::move(work));
    return made;
  }
  template <std::invocable<Stream&> Run>
  Work* call(Run run, std::vector<Access> accesses = {}) {
    return make<CallWork<Run>>(std::move(run), std::move(accesses));
  }
  /// Adds an instruction on `stream` behind what it needs. Returns its number + 1, as LastWork counts.
  std::uint32_t add(std::size_t stream, const LastWork& needs, std::span<const Piece> pieces,
                    const InstructionLabel& label);
  /// Memory is there.
  void prepare(Engine& engine);

  // Running it:

  /// Queues all instructions. `streams` are as many as set_streams() said.
  void queue(std::span<const std::unique_ptr<Stream>> streams);
  /// In waves: instructions that are added from now on are queued. `drain` blocks until the streams are empty
  /// and throws what their work threw.
  void begin(std::span<const std::unique_ptr<Stream>> streams, std::function<void()> drain);
  /// Queues the last of them.
  void end();

  // Looking at it:

  /// Those that are kept: all, unless they are made in waves.
  [[nodiscard]] std::span<const Instruction> instructions() const { return made_.instructions; }
  [[nodiscard]] std::span<const Piece> pieces_of(const Instruction& instruction) const {
    return made_.pieces_of(instruction);
  }
  [[nodiscard]] std::span<const std::uint32_t> waits_of(const Instruction& instruction) const {
    return std::span(made_.waits).subspan(instruction.first_wait, instruction.waits);
  }
  /// Of a run.
  [[nodiscard]] std::size_t pieces() const { return pieces_; }
  [[nodiscard]] std::string text(const InstructionLabel& label) const;

 private:
  // Instructions, and all that belongs to them.
  struct Held {
    Program* program = nullptr;
    std::uint32_t first = 0;  // the number of its first instruction
    std::vector<std::unique_ptr<Work>> works{};
    std::vector<Piece> pieces{};
    std::vector<Instruction> instructions{};
    std::vector<std::uint32_t> waits{};
    std::vector<Event> events{};  // per instruction, when awaited

    [[nodiscard]] std::span<const Piece> pieces_of(const Instruction& instruction) const {
      return std::span(pieces).subspan(instruction.first_piece, instruction.pieces);
    }
  };

  void end_wave();
  void queue(Held& held);
  static void run_instruction(void* held, std::size_t index);
  void run(const Instruction& instruction, std::span<const Piece> pieces);
  void run(const Piece& piece, const Instruction& instruction);
  [[nodiscard]] RangeLabel range_of(const Instruction& instruction) const;

  RunTimes& times_;
  std::vector<std::string> names_;
  InstructionOrder order_;
  Held made_{this};
  std::size_t pieces_ = 0;

  std::size_t most_held_ = std::numeric_limits<std::size_t>::max();
  bool in_waves_ = false;
  Held running_{this};           // the wave before
  std::function<void()> drain_;  // between begin() and end()
  std::span<const std::unique_ptr<Stream>> streams_;
  std::atomic<bool> failed_ = false;  // some instruction of the run
};

}  // namespace halotile
