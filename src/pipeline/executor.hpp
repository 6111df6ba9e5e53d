// The executor: runs a plan over streams. It plans memory once, prepares every tile's operations once, works
// out which tile must wait for which, and from then on a run only queues tasks.
//
// The batch is cut into chunks of `sub_batch` images. A chunk goes through all stages; the tiles of a stage
// are dealt to the streams so that each gets about the same work. A tile waits exactly for the tiles of the
// stage before whose cores it reads, and for the readers of memory that it overwrites; nothing else
// synchronizes but the end. Layers behind the feature maps (fully connected, softmax) run on the whole batch,
// fully connected ones in blocks of output features, whose size does not depend on the streams.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <vector>

#include "kernels/engine.hpp"
#include "patching/plan.hpp"
#include "pipeline/network.hpp"

namespace halotile {

/// How tiles get their input: a view into the whole map, or a materialised copy (and its core a copy back).
enum class Storage : std::uint8_t { view, packed };

struct ExecutorSettings {
  std::int64_t batch = 1;
  int streams = 1;
  std::int64_t sub_batch = 0;  ///< images handed to a stream at a time; 0: all
  Storage storage = Storage::view;
  std::set<std::size_t> keep;      ///< layers whose outputs must stay readable after a run; each ends a stage
  std::uint64_t dropout_seed = 0;  ///< of dropout layers that sample
  bool poison = false;             ///< fill maps and scratch with NaN before every run (verification)
};

/// One layer's share of a run, over all streams.
struct LayerTime {
  std::string name;
  std::string kind;    ///< layer type; "pack" and "place" for packed tiles
  double seconds = 0;  ///< summed over streams and runs
  double flops = 0;    ///< per run, recomputed ones included
};

struct MemoryUse {
  std::size_t maps = 0;     ///< bytes of input, feature maps and outputs
  std::size_t scratch = 0;  ///< bytes of the streams' tiles in flight
};

class Executor {
 public:
  /// `plan` must cover the network's spatial layers, with a stage ending at every kept spatial layer. Keeps
  /// references to the network, whose layers must have their weights bound, and to the engine.
  Executor(const Network& network, std::vector<StagePlan> plan, Engine& engine,
           const ExecutorSettings& settings);
  ~Executor();

  /// The batch's input maps, dense NHWC in the engine's element type; fill before run().
  [[nodiscard]] MapView input() const;
  /// Which masks the dropout layers that sample draw in coming runs, for the images of these numbers in the
  /// input (see dropout.hpp). At first sample 0 of images 0, 1, ...
  void set_dropout(std::int64_t sample, std::span<const std::int64_t> images);
  /// One forward pass. Throws what the work threw, TileError if a tile is missing, Interrupted when told to
  /// stop.
  void run();
  /// Output of a kept layer, or of the last one, of the run before. Behind flatten its memory order is
  /// Layer::memory's.
  [[nodiscard]] ConstMapView output(std::size_t layer) const;

  [[nodiscard]] const std::vector<StagePlan>& plan() const;
  [[nodiscard]] MemoryUse memory() const;
  /// Times since construction or the last reset_times().
  [[nodiscard]] std::vector<LayerTime> times() const;
  /// Seconds in which each stream was at work.
  [[nodiscard]] std::vector<double> busy_seconds() const;
  void reset_times();

 private:
  class Program;
  std::unique_ptr<Program> program_;
};

}  // namespace halotile
