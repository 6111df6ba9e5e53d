// Engines: implementations of the layers' arithmetic. An engine prepares operations for the geometry of
// tiles, once; running an operation allocates nothing of its own.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/devices/device.hpp"
#include "kernels/devices/stream.hpp"
#include "kernels/engines/op.hpp"
#include "kernels/engines/tile_batch.hpp"
#include "kernels/maps/map.hpp"

namespace halotile {

/// Where an operation runs.
struct RunContext {
  Stream& stream;                ///< the stream whose turn it is; a device engine launches on it
  std::span<std::byte> scratch;  ///< the stream's own: at least scratch_bytes(), aligned to 64 bytes
  std::int64_t first_image = 0;  ///< number in the batch of the views' first image
};

/// One operation's work on tiles of one shape. Belongs to one stream: it may keep state between runs.
class Operation {
 public:
  virtual ~Operation() = default;
  /// `in` and `out` have the extents, strides and relative position that the operation was prepared for, with
  /// data.
  virtual void run(std::span<const ConstMapView> in, const MapView& out, const RunContext& context) = 0;
  /// The same for operations of one input.
  void run(const ConstMapView& in, const MapView& out, const RunContext& context) {
    run({&in, 1}, out, context);
  }
  [[nodiscard]] virtual std::size_t scratch_bytes() const { return 0; }
};

/// The inputs of an operation. Most have one, joins have two.
class InputViews {
 public:
  static constexpr std::size_t capacity = 2;

  InputViews(const ConstMapView& only) : views_{only}, count_(1) {}    // NOLINT: as a span of one
  InputViews(const MapView& only) : InputViews(ConstMapView(only)) {}  // NOLINT
  /// Throws ShapeError for more than `capacity`.
  explicit InputViews(std::span<const ConstMapView> views);

  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] const ConstMapView* begin() const { return views_.data(); }
  [[nodiscard]] const ConstMapView* end() const { return views_.data() + count_; }
  [[nodiscard]] const ConstMapView& front() const { return views_.front(); }

 private:
  std::array<ConstMapView, capacity> views_;
  std::size_t count_;
};

/// A tile's part of a step that several tiles take together.
struct TileCall {
  Operation* operation = nullptr;  ///< prepared for the geometry of `in` and `out`
  InputViews in;
  MapView out;
  RunContext context;  ///< scratch is the tile's own
};

/// A step of several tiles, prepared between fixed addresses.
class TileStep {
 public:
  virtual ~TileStep() = default;
  virtual void run(Stream& stream) = 0;

  // Or in two, one behind the other, maybe on two streams:
  /// What reads the inputs and writes the tiles' scratch, and nothing else.
  virtual void begin(Stream&) {}
  /// The rest.
  virtual void finish(Stream& stream) { run(stream); }
};

/// Makes operations. All arguments that are geometry describe tiles: an input's rect holds at least what
/// out.rect needs, positions outside it read as padding. Methods are called from one thread.
class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Element type of its feature maps; vectors between fully connected layers too. The last outputs are f32.
  [[nodiscard]] virtual DType map_type() const = 0;
  /// The device its operations run on; their views point into its memory.
  [[nodiscard]] virtual Device& device() = 0;

  /// Why prepare() would refuse the operation, as an end of "engine x: "; empty: it would not. LrnMaxPool is
  /// there where it is faster than its two.
  [[nodiscard]] virtual std::string obstacle(const Op& op) const = 0;
  [[nodiscard]] bool supports(const Op& op) const { return obstacle(op).empty(); }
  /// The operation on tiles of this geometry. It shares the ownership of `op`'s parameters. Throws
  /// UnsupportedError naming the operation and the engine where there is an obstacle, or where this geometry
  /// is one.
  [[nodiscard]] std::unique_ptr<Operation> prepare(const Op& op, std::span<const MapGeometry> in,
                                                   const MapGeometry& out);
  /// The same for operations of one input.
  [[nodiscard]] std::unique_ptr<Operation> prepare(const Op& op, const MapGeometry& in,
                                                   const MapGeometry& out) {
    return prepare(op, {&in, 1}, out);
  }

  /// Null: tiles are to be copied one by one.
  [[nodiscard]] virtual std::unique_ptr<TileCopies> tile_copies(std::span<const TileCopy> copies);
  /// Null where tile_copies is.
  [[nodiscard]] virtual std::unique_ptr<TileLedger> tile_ledger(const TileSet& tiles);
  /// The same step of several tiles, in as few launches as the engine has: one by one if it has no better.
  [[nodiscard]] virtual std::unique_ptr<TileStep> tile_step(std::span<const TileCall> calls);
  /// Elements of two maps on the device whose bits differ; nothing where the host is to compare. NaN equals
  /// NaN.
  [[nodiscard]] virtual std::optional<std::int64_t> differing(const ConstMapView& a, const ConstMapView& b);
  /// What a user should know of where its data lie; may be empty.
  [[nodiscard]] virtual std::string note() const { return {}; }

 protected:
  /// prepare(), where there is no obstacle.
  [[nodiscard]] virtual std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                        const MapGeometry& out) = 0;
  /// "engine x: <operation>: <obstacle>".
  [[noreturn]] void refuse(const Op& op, const std::string& obstacle) const;
};

/// Plain fp32, fixed order; the oracle of the project. One thread per stream.
[[nodiscard]] std::unique_ptr<Engine> make_reference_engine();
/// oneDNN, `threads` threads inside each stream. `map_type` f32, or bf16 where the CPU has it
/// (UnsupportedError otherwise).
[[nodiscard]] std::unique_ptr<Engine> make_onednn_engine(DType map_type, int threads);
/// True when this CPU multiplies bf16 in hardware.
[[nodiscard]] bool cpu_has_bf16();
/// Version of the oneDNN library in use, for provenance.
[[nodiscard]] std::string onednn_version();

}  // namespace halotile
