// dispatch: batched, stages of several steps whose tiles are views. Neighbouring tiles are computed together,
// as one part of the stage's output: as many as have what lies between two steps in the lane, a small piece
// of memory. Parts come one after the other and repeat next to nothing of what a part before them has
// computed: behind a step a part keeps its lower and right borders for the parts that read them, if they are
// not so thin that computing them again takes less than copying. Where the lane has room, the next part's
// input is packed while this one's last steps are computed.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/engines/engine.hpp"
#include "patching/borders.hpp"
#include "patching/plan.hpp"
#include "pipeline/network/steps.hpp"
#include "pipeline/running/lane.hpp"
#include "pipeline/running/tile_operations.hpp"

namespace halotile {

/// A stage in parts, each of several tiles that are computed together, step by step, on one stream. Two more
/// streams do what has time until a later step: beside steps, one copies borders of maps to where they are
/// kept for later parts, and borders of others from there; one begins with the next part's input.
struct MergedTiles {
  std::vector<Rect> inputs;   ///< per part: what it reads of the stage's input
  std::vector<Rect> outputs;  ///< and what it writes of its output
  std::vector<bool> borders;  ///< per step: whether borders are copied beside it
  /// Per step: the step of the same part beside which the last copies go that this one needs. The first step
  /// needs all of the part before.
  std::vector<std::optional<std::size_t>> border_waits;
  std::size_t ahead = 0;  ///< the step beside which the next part begins; 0: none
};

/// Rows or columns of parts.
struct MergedAxis {
  std::vector<std::vector<Held>> held;  ///< of the map before each step, and behind the last; by part

  [[nodiscard]] std::size_t parts() const { return held.back().size(); }
  /// The largest of a map's intervals, all that parts have `kept` or `fresh`.
  [[nodiscard]] std::int64_t largest(std::size_t map, Interval Held::*of) const;
};

class MergedStage {
 public:
  /// The stage, whose steps are a chain. Maps have element type `type`.
  struct Stage {
    const Network& network;
    const StagePlan& plan;
    std::span<const Step> steps;
    DType type = DType::f32;
  };

  /// Parts of as many tiles as go into `lane_bytes`, one tile at least. `images`: how many images chunks
  /// have, the most first. Keeps references to what it is given.
  MergedStage(const Stage& stage, TileOperations& operations, std::span<const std::int64_t> images,
              std::size_t lane_bytes);

  [[nodiscard]] const MergedTiles& tiles() const { return tiles_; }
  /// Positions of a step's output that are computed, over those that are needed.
  [[nodiscard]] double repeats(std::size_t step) const;
  [[nodiscard]] std::size_t lane_bytes() const { return lane_.bytes(); }
  [[nodiscard]] std::size_t border_bytes() const { return border_bytes_; }

  /// Where parts work: the stream of their steps, and memory.
  struct Place {
    Stream* stream = nullptr;
    std::byte* lane = nullptr;
    std::byte* borders = nullptr;
  };
  /// Makes a part's steps between fixed addresses; `in` and `out` are the stage's maps of a chunk. To be
  /// called chunk by chunk, for all parts in order.
  void prepare_part(Engine& engine, std::size_t number, const ConstMapView& in, const MapView& out,
                    std::int64_t first_image, const Place& place);

  /// A step of a part; of a part that was begun, the rest of its first step.
  void compute(std::size_t chunk, std::size_t part, std::size_t step, Stream& stream);
  /// Copies of borders beside that step.
  void copy_borders(std::size_t chunk, std::size_t part, std::size_t step, Stream& stream);
  /// What a part's first step can do of its input ahead of its turn.
  void begin(std::size_t chunk, std::size_t part, Stream& stream);

 private:
  struct Cut {
    MergedAxis rows;
    MergedAxis cols;
  };
  struct Part {
    std::size_t row;
    std::size_t col;
  };
  struct PreparedStep {
    std::unique_ptr<TileStep> compute;
    std::unique_ptr<TileStep> borders;
  };

  [[nodiscard]] Cut cut_into(std::int64_t rows, std::int64_t cols) const;
  void choose_cut(std::int64_t images, std::size_t lane_bytes);
  [[nodiscard]] Lane lane_of(const Cut& cut, std::size_t parts, std::span<const std::int64_t> images) const;
  void plan_tasks();
  void place_borders(std::int64_t images);
  [[nodiscard]] std::size_t parts() const { return cut_.rows.parts() * cut_.cols.parts(); }
  [[nodiscard]] const PreparedStep& prepared(std::size_t chunk, std::size_t part, std::size_t step) const {
    return prepared_[(chunk * parts() + part) * output() + step];
  }
  [[nodiscard]] static Part part_of(const Cut& cut, std::size_t number);
  [[nodiscard]] bool begins_ahead(std::size_t part) const { return part > 0 && tiles_.ahead > 0; }
  [[nodiscard]] std::size_t output() const { return stage_.steps.size(); }  // what the last step writes
  [[nodiscard]] Rect held(const Cut& cut, Part part, std::size_t map) const;
  [[nodiscard]] Rect fresh(const Cut& cut, Part part, std::size_t map) const;
  // The number in the plan of a map, by the step that reads it.
  [[nodiscard]] std::size_t value(std::size_t map) const;
  [[nodiscard]] MapGeometry dense(std::size_t map, std::int64_t images, Rect rect) const;
  // What a step reads and writes, without data.
  [[nodiscard]] MapGeometry input_of(const Cut& cut, Part part, std::size_t step, std::int64_t images) const;
  [[nodiscard]] MapGeometry output_of(const Cut& cut, Part part, std::size_t step, std::int64_t images) const;
  [[nodiscard]] Operation* operation_of(std::size_t step, const MapGeometry& in,
                                        const MapGeometry& out) const;
  [[nodiscard]] MapView between(Part part, std::size_t map, std::int64_t images, const Place& place) const;
  // The copies beside a step; none where there is nothing to copy.
  [[nodiscard]] std::vector<TileCall> border_copies(Part part, std::size_t step, std::int64_t images,
                                                    const Place& place, const RunContext& context) const;

  const Stage stage_;
  TileOperations& operations_;
  Cut cut_;
  MergedTiles tiles_;
  Lane lane_;
  std::vector<bool> kept_;  // per map: some part keeps borders of it
  std::size_t border_bytes_ = 0;
  std::vector<std::vector<std::size_t>> below_at_;  // per map, per column of parts
  std::vector<std::size_t> right_at_;               // per map
  std::vector<PreparedStep> prepared_;              // per chunk, per part
};

}  // namespace halotile
