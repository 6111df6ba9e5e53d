// The executor: runs a plan over streams. A plan is lowered once to a program of instructions (lowering.hpp),
// with a place in memory for every map and everything prepared; from then on a run only queues them.
//
// Where the device has memory of its own, input and outputs lie in host memory that copies reach at full
// speed. A run then begins with each chunk's copy to the device, on the chunk's own stream, and ends with the
// kept outputs' copies to the host.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "patching/plan.hpp"
#include "pipeline/network/network.hpp"
#include "pipeline/running/run_times.hpp"

namespace halotile {

/// How tiles get their input: a view into the whole map, or a materialised copy (and its core a copy back).
enum class Storage : std::uint8_t { view, packed };

/// How tiles reach the device: queued by the host in every run, replayed as a graph, or all tiles of a stage
/// step by step together (and replayed).
enum class Dispatch : std::uint8_t { streams, graph, batched };

/// Where the device's memory comes from.
enum class MemoryMode : std::uint8_t {
  arena,  ///< planned and allocated once
  pool    ///< maps of chunks and tiles: from a pool, in the order of the streams, in every run
};

/// Input as 8-bit pixels, which become (x / 255 - mean) / stddev on the device.
struct PixelInput {
  std::array<float, 3> mean{};
  std::array<float, 3> stddev{};
};

struct ExecutorSettings {
  std::int64_t batch = 1;
  int streams = 1;
  std::int64_t sub_batch = 0;                   ///< images handed to a stream at a time; 0: all
  std::vector<std::int64_t> first_sub_batches;  ///< other sizes, in order, before those of sub_batch images
  Storage storage = Storage::view;
  std::set<std::size_t> keep;      ///< nodes whose outputs must stay readable after a run
  std::uint64_t dropout_seed = 0;  ///< of dropout layers that sample
  std::size_t wave = 8192;         ///< instructions held at most, twice; more are made anew in every run
  bool poison = false;             ///< fill maps and scratch with NaN before every run (verification)

  // For devices with memory of their own; elsewhere `batched`, `graph` and any memory but the arena are
  // errors, the others without effect.
  MemoryMode memory = MemoryMode::arena;
  bool batched = false;  ///< tiles of a stage go through its steps together; one stream
  /// Then: bytes of what lies between two steps; a tile at a time may have more. Three times an H200's L2
  /// cache: launches of few tiles end with most of the device idle, which costs more than memory does.
  std::size_t ring_bytes = std::size_t{160} << 20;
  bool graph = false;           ///< capture the second run's work in a graph, and replay that from then on
  bool resident_input = false;  ///< runs start from the device's copy of the input, see load_input()
  std::optional<PixelInput> pixels;  ///< the input is u8
  bool download = true;              ///< kept outputs go to the host in every run; else when output() asks
};

struct MemoryUse {
  std::size_t maps = 0;     ///< bytes of input, feature maps and outputs
  std::size_t scratch = 0;  ///< bytes of the streams' tiles in flight
};

/// Arithmetic of one image in a stage.
struct StageWork {
  double flops = 0;             ///< what a run does
  double recomputed_flops = 0;  ///< of that, what another tile (or several that are computed as one) does too
};

class Program;

class Executor {
 public:
  /// `plan` must cover the network's spatial nodes, with every kept one's value as an output of its stage.
  /// Keeps references to the network, whose nodes must have their weights bound, and to the engine.
  Executor(const Network& network, std::vector<StagePlan> plan, Engine& engine,
           const ExecutorSettings& settings);
  ~Executor();

  /// The batch's input maps in host memory, dense NHWC in the engine's element type or u8; fill before
  /// load_input().
  [[nodiscard]] MapView input() const;
  /// The input is filled: with resident_input it goes to the device now.
  void load_input();
  /// Which masks the dropout layers that sample draw in coming runs, for the images of these numbers in the
  /// input (see dropout.hpp). At first sample 0 of images 0, 1, ...
  void set_dropout(std::int64_t sample, std::span<const std::int64_t> images);
  /// One forward pass. Throws what the work threw, TileError if a tile is missing, Interrupted when told to
  /// stop.
  void run();
  /// The same with the times of layers taken where run() cannot: on devices with memory of their own. Slower.
  void profile();
  /// Output of a kept node, or of one that makes an output of the network, of the run before, in host memory.
  /// Behind flatten it lies in memory as Value::memory says.
  [[nodiscard]] ConstMapView output(std::size_t node) const;
  /// The same where the run left it, in the engine's device's memory. Without data when it is not there.
  [[nodiscard]] ConstMapView device_output(std::size_t node) const;

  [[nodiscard]] const std::vector<StagePlan>& plan() const;
  /// The instructions of a run.
  [[nodiscard]] const Program& program() const;
  /// As planned, or less where tiles of `dispatch: batched` keep borders for each other.
  [[nodiscard]] StageWork work(std::size_t stage) const;
  [[nodiscard]] MemoryUse memory() const;
  /// Times since construction or the last reset_times().
  [[nodiscard]] std::vector<LayerTime> times() const;
  /// Seconds in which each stream was at work.
  [[nodiscard]] std::vector<double> busy_seconds() const;
  /// Seconds in which the calling thread waited for the streams, in run() too.
  [[nodiscard]] double idle_seconds() const;
  void reset_times();

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace halotile
