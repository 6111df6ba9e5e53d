// oneDNN cuts the sums of a fully connected layer among the threads that a primitive is made for, so that
// their number shows in the bits. Here every thread has features of its own, and primitives are made for one.
// They make sums only; a ReLU behind them is ours, piece by piece, because oneDNN's loses NaN
// (onednn_conv2d.cpp).
#include "kernels/engines/cpu/onednn_fully_connected.hpp"

#include <array>
#include <vector>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/onednn_primitives.hpp"
#include "kernels/engines/cpu/pointwise.hpp"
#include "patching/error.hpp"

namespace halotile::onednn {
namespace {

using dnnl::memory;

class FullyConnectedOperation final : public Operation {
 public:
  FullyConnectedOperation(const dnnl::engine& engine, const FullyConnected& layer,
                          std::span<const FullyConnectedPiece> pieces, const MapGeometry& out, int threads)
      : layer_(layer), threads_(threads), packs_out_(out.images > 1) {
    pieces_.reserve(pieces.size());
    std::int64_t first = 0;  // feature
    for (const FullyConnectedPiece& made : pieces) {
      Piece& piece = pieces_.emplace_back(engine, made);
      piece.features = made.desc.dst_desc().dims()[1];
      piece.out_at = static_cast<std::size_t>(first * size_of(out.dtype));
      piece.scratch_at = scratch_bytes_;
      if (packs_out_) piece.packed_bytes = aligned(made.desc.dst_desc().get_size());
      scratch_bytes_ += piece.packed_bytes + aligned(made.desc.scratchpad_desc().get_size());
      first += piece.features;
    }
  }

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    const auto count = static_cast<std::int64_t>(pieces_.size());
    bool failed = false;  // exceptions must not leave the loop
#pragma omp parallel for num_threads(threads_) schedule(static) reduction(|| : failed)
    for (std::int64_t p = 0; p < count; ++p) {
      if (stop_requested.load(std::memory_order_relaxed)) continue;
      failed = !run_piece(pieces_[static_cast<std::size_t>(p)], in, out, context) || failed;
    }
    throw_if_stopped();
    if (failed) throw UnsupportedError("oneDNN failed to run a fully connected layer");
  }

  [[nodiscard]] std::size_t scratch_bytes() const override { return scratch_bytes_; }

 private:
  struct Piece {
    Piece(const dnnl::engine& engine, const FullyConnectedPiece& made)
        : primitive(made.primitive),
          stream(engine),
          src(made.desc.src_desc(), engine, nullptr),
          dst(made.desc.dst_desc(), engine, nullptr),
          scratchpad(made.desc.scratchpad_desc(), engine, nullptr),
          weight(made.weight),
          bias(made.bias) {}

    dnnl::inner_product_forward primitive;
    dnnl::stream stream;
    memory src;
    memory dst;
    memory scratchpad;
    memory weight;
    memory bias;
    std::int64_t features = 0;
    std::size_t out_at = 0;        // bytes, in an image's outputs
    std::size_t scratch_at = 0;    // its outputs, if there are several images, and what the primitive needs
    std::size_t packed_bytes = 0;  // of those outputs
  };

  // False where oneDNN fails.
  [[nodiscard]] bool run_piece(Piece& piece, const ConstMapView& in, const MapView& out,
                               const RunContext& context) const {
    std::byte* const to = static_cast<std::byte*>(out.data) + piece.out_at;
    std::byte* const scratch = context.scratch.data() + piece.scratch_at;
    set_data(piece.src, in.data);
    set_data(piece.dst, packs_out_ ? scratch : to);
    set_data(piece.scratchpad, scratch + piece.packed_bytes);
    const std::array<dnnl_exec_arg_t, 5> args{{{DNNL_ARG_SRC, piece.src.get()},
                                               {DNNL_ARG_WEIGHTS, piece.weight.get()},
                                               {DNNL_ARG_DST, piece.dst.get()},
                                               {DNNL_ARG_SCRATCHPAD, piece.scratchpad.get()},
                                               {DNNL_ARG_BIAS, piece.bias ? piece.bias.get() : nullptr}}};
    const int count = piece.bias ? 5 : 4;
    if (dnnl_primitive_execute(piece.primitive.get(), piece.stream.get(), count, args.data()) != dnnl_success)
      return false;
    MapView target = out;
    target.channels = piece.features;
    target.data = to;
    const MapGeometry packed = dense_geometry(out.dtype, out.images, piece.features, out.rect, out.whole);
    const ConstMapView made = packs_out_ ? ConstMapView{packed, scratch} : ConstMapView(target);
    if (layer_.relu) {
      relu(made, target);
    } else if (packs_out_) {
      copy_map(made, target);
    }
    return true;
  }

  FullyConnected layer_;  // its parameters are what the primitives read
  int threads_;
  bool packs_out_;
  std::vector<Piece> pieces_;
  std::size_t scratch_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Operation> fully_connected_operation(const dnnl::engine& engine, const FullyConnected& layer,
                                                     std::span<const FullyConnectedPiece> pieces,
                                                     const MapGeometry& out, int threads) {
  return std::make_unique<FullyConnectedOperation>(engine, layer, pieces, out, threads);
}

}  // namespace halotile::onednn
