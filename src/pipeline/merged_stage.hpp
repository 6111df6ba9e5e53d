// dispatch: batched, stages of several steps whose tiles are views. Neighbouring tiles are computed together,
// as one part of the stage's output: as many as have what lies between two steps in a lane, a small piece of
// memory. Parts come one after the other, in lanes in turn, and repeat next to nothing of what a part before
// them has computed: behind a step a part keeps its lower and right borders for the parts that read them, if
// they are not so thin that computing them again takes less than copying.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "kernels/engine.hpp"
#include "patching/borders.hpp"
#include "patching/plan.hpp"
#include "pipeline/schedule.hpp"
#include "pipeline/steps.hpp"
#include "pipeline/tile_operations.hpp"

namespace halotile {

class MergedStage {
 public:
  /// The stage: `number` in the network's plan, maps of element type `type`.
  struct Stage {
    const Network& network;
    const StagePlan& plan;
    std::span<const Step> steps;
    std::int64_t number = 0;
    DType type = DType::f32;
  };

  /// Parts of as many tiles as go into `lane_bytes` with `images` images, one tile at least. Keeps references
  /// to what it is given.
  MergedStage(const Stage& stage, TileOperations& operations, std::int64_t images, std::size_t lane_bytes);

  [[nodiscard]] const MergedTiles& tiles() const { return tiles_; }

  /// To be called for every number of images that a chunk has, before the memory is asked for.
  void prepare_operations(std::int64_t images);
  /// Of each lane, and of the borders of all parts.
  [[nodiscard]] std::size_t lane_bytes() const { return lane_.all(); }
  [[nodiscard]] std::size_t border_bytes() const { return border_bytes_; }

  /// Where a part works: one lane for each stream.
  struct Lane {
    std::int64_t number = 0;
    std::byte* memory = nullptr;
    Stream* stream = nullptr;
  };
  /// Makes a part's steps between fixed addresses; `in` and `out` are the stage's maps of a chunk. To be
  /// called chunk by chunk, for all parts in order.
  void prepare_part(Engine& engine, std::size_t number, const ConstMapView& in, const MapView& out,
                    std::int64_t first_image, const Lane& lane, std::byte* borders);

  /// A task of role `borders` or `step`.
  void run(const Task& task, Stream& stream);

 private:
  // Rows and columns of parts: their tiles, and what they hold of the map before each step (and behind the
  // last).
  struct Axis {
    std::vector<Interval> tiles;
    std::vector<std::vector<Held>> held;
    [[nodiscard]] std::int64_t largest(std::size_t map, Interval (*of)(const Held&)) const;
  };
  struct Cut {
    Axis rows;
    Axis cols;
  };
  struct Part {
    std::size_t row;
    std::size_t col;
  };
  // A lane has room for the first intermediate map, and behind it for the second and what operations need;
  // the first step's operation may take the second map's place.
  struct LaneBytes {
    std::array<std::size_t, 2> between{};
    std::size_t first_operation = 0;
    std::size_t operation = 0;  // of the other steps
    [[nodiscard]] std::size_t all() const;
  };
  struct PreparedStep {
    std::unique_ptr<TileStep> borders;
    std::unique_ptr<TileStep> compute;
  };

  [[nodiscard]] Cut cut_into(std::int64_t rows, std::int64_t cols) const;
  void choose_cut(std::int64_t images, std::size_t lane_bytes);
  void place_borders(std::int64_t images);
  [[nodiscard]] std::size_t parts() const { return tiles_.inputs.size(); }
  [[nodiscard]] Part part_of(std::size_t number) const;
  // Maps are numbered by the step that reads them; what the last one writes is the stage's output.
  [[nodiscard]] std::size_t output() const { return stage_.steps.size(); }
  [[nodiscard]] Rect held(const Cut& cut, Part part, std::size_t map) const;
  [[nodiscard]] Rect fresh(const Cut& cut, Part part, std::size_t map) const;
  [[nodiscard]] MapGeometry dense(std::size_t map, std::int64_t images, Rect rect) const;
  void raise_bytes(LaneBytes& bytes, const Cut& cut, Part part, std::int64_t images) const;
  [[nodiscard]] Operation* operation_of(std::int64_t lane, std::size_t step, const MapGeometry& in,
                                        const MapGeometry& out) const;
  [[nodiscard]] MapView between(Part part, std::size_t map, std::int64_t images, const Lane& lane) const;
  // The copies before a step; none where there is nothing to copy.
  [[nodiscard]] std::vector<TileCall> border_copies(Part part, std::size_t step, std::int64_t images,
                                                    const Lane& lane, std::byte* borders,
                                                    const RunContext& context) const;

  const Stage stage_;
  TileOperations& operations_;
  Cut cut_;
  MergedTiles tiles_;
  LaneBytes lane_;
  std::size_t border_bytes_ = 0;
  std::vector<std::vector<std::size_t>> below_at_;  // per map, per column of parts
  std::vector<std::size_t> right_at_;               // per map
  std::vector<PreparedStep> prepared_;              // per chunk, per part
};

}  // namespace halotile
