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
#include "kernels/engines/layers.hpp"
#include "kernels/engines/tile_batch.hpp"
#include "kernels/maps/map.hpp"

namespace halotile {

/// Where an operation runs.
struct RunContext {
  Stream& stream;                ///< the stream whose turn it is; a device engine launches on it
  std::span<std::byte> scratch;  ///< the stream's own: at least scratch_bytes(), aligned to 64 bytes
  std::int64_t first_image = 0;  ///< number in the batch of the views' first image
};

/// One layer's work on tiles of one shape. Belongs to one stream: it may keep state between runs.
class Operation {
 public:
  virtual ~Operation() = default;
  /// `in` and `out` have the extents, strides and relative position that the operation was prepared for, with
  /// data.
  virtual void run(const ConstMapView& in, const MapView& out, const RunContext& context) = 0;
  [[nodiscard]] virtual std::size_t scratch_bytes() const { return 0; }
};

/// A tile's part of a step that several tiles take together.
struct TileCall {
  Operation* operation = nullptr;  ///< prepared for the geometry of `in` and `out`
  ConstMapView in;
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

/// Makes operations. All arguments that are geometry describe tiles: in.rect holds at least what out.rect
/// needs, positions outside in.rect read as padding. Layers must outlive the engine: it keeps their weights'
/// addresses. Methods are called from one thread.
class Engine {
 public:
  virtual ~Engine() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Element type of its feature maps; vectors between fully connected layers too. The last outputs are f32.
  [[nodiscard]] virtual DType map_type() const = 0;
  /// True when equal bits for every patching are promised by construction, false when they are only measured.
  [[nodiscard]] virtual bool promises_bits() const = 0;
  /// The device its operations run on; their views point into its memory.
  [[nodiscard]] virtual Device& device() = 0;

  [[nodiscard]] virtual std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry& in,
                                                          const MapGeometry& out) = 0;
  /// Outputs [features.begin, features.end). The bits must not depend on how features are cut into such
  /// blocks.
  [[nodiscard]] virtual std::unique_ptr<Operation> fully_connected(const FullyConnected& layer,
                                                                   Interval features, const MapGeometry& in,
                                                                   const MapGeometry& out) = 0;
  [[nodiscard]] virtual std::unique_ptr<Operation> pool2d(const Pool2d& layer, const MapGeometry& in,
                                                          const MapGeometry& out) = 0;
  [[nodiscard]] virtual std::unique_ptr<Operation> lrn(const Lrn& layer, const MapGeometry& in,
                                                       const MapGeometry& out) = 0;
  /// True where lrn_max_pool() is there and faster than its two layers.
  [[nodiscard]] virtual bool fuses_lrn_and_pool() const { return false; }
  /// Both layers in one pass, with the bits of one after the other. Throws UnsupportedError where not fused.
  [[nodiscard]] virtual std::unique_ptr<Operation> lrn_max_pool(const Lrn& lrn, const Pool2d& pool,
                                                                const MapGeometry& in,
                                                                const MapGeometry& out);
  [[nodiscard]] virtual std::unique_ptr<Operation> relu(const MapGeometry& in, const MapGeometry& out) = 0;
  [[nodiscard]] virtual std::unique_ptr<Operation> softmax(const MapGeometry& in, const MapGeometry& out) = 0;
  /// Copies out.rect, converting between element types: cutting and placing packed tiles, and the input.
  [[nodiscard]] virtual std::unique_ptr<Operation> copy(const MapGeometry& in, const MapGeometry& out) = 0;

  // What only engines of devices with memory of their own have.

  /// u8 pixels to (x / 255 - mean) / stddev, each step rounded to float. Throws UnsupportedError elsewhere.
  [[nodiscard]] virtual std::unique_ptr<Operation> normalize(const std::array<float, 3>& mean,
                                                             const std::array<float, 3>& stddev);
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
};

/// Names of the engines in this build, the default first.
[[nodiscard]] std::span<const std::string_view> engine_names();

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
