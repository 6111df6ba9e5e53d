// The `onednn` engine: convolutions and fully connected layers by oneDNN, the rest by the shared kernels.
//
// oneDNN does not promise equal bits for different shapes, and its default for NHWC (brgconv) does not keep
// them: it cuts long sums by the shape of the map. Its older direct kernels (jit) add up each output in one
// chain, input channels outermost, and gave equal bits for every shape that we measured (docs/engines.md); so
// they are what we ask for.
#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <dnnl.hpp>
#include <optional>
#include <string>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/cpu/conv2d_plain.hpp"
#include "kernels/engines/cpu/conv2d_winograd.hpp"
#include "kernels/engines/cpu/cpu_operations.hpp"
#include "kernels/engines/cpu/onednn_conv2d.hpp"
#include "kernels/engines/cpu/onednn_fully_connected.hpp"
#include "kernels/engines/thread_count.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using dnnl::memory;
using onednn::Band;
using onednn::ConvPrimitive;
using onednn::ConvShape;
using onednn::cut_bands;
using onednn::features_of_piece;
using onednn::FullyConnectedPiece;
using onednn::with_zeros;

memory::data_type data_type(DType type) {
  return type == DType::f32 ? memory::data_type::f32 : memory::data_type::bf16;
}

[[noreturn]] void fail(const char* what, const dnnl::error& error) {
  throw UnsupportedError(std::string("oneDNN cannot make ") + what + " (" + error.what() +
                         "); use engine: reference for this network");
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

// All of the tile's input is padding: every product is zero.
class BiasOnly final : public Operation {
 public:
  explicit BiasOnly(const Conv2d& layer) : layer_(layer) {}
  void run(std::span<const ConstMapView>, const MapView& out, const RunContext&) override {
    for (std::int64_t n = 0; n < out.images; ++n) {
      for (std::int64_t y = out.rect.rows.begin; y < out.rect.rows.end; ++y) {
        for (std::int64_t x = out.rect.cols.begin; x < out.rect.cols.end; ++x) {
          for (std::int64_t c = 0; c < out.channels; ++c) {
            const float bias = layer_.bias.empty() ? 0.0F : layer_.bias[static_cast<std::size_t>(c)];
            const float value = layer_.relu && bias < 0 ? 0.0F : bias;
            if (out.dtype == DType::f32) {
              out.at<float>(n, y, x)[c] = value;
            } else {
              out.at<Bfloat16>(n, y, x)[c] = Bfloat16(value);
            }
          }
        }
      }
    }
  }

 private:
  Conv2d layer_;
};

class OneDnnEngine final : public CpuEngine {
 public:
  OneDnnEngine(DType map_type, int thread_count)
      : CpuEngine(thread_count, [thread_count] { omp_set_num_threads(thread_count); }),
        map_type_(map_type),
        engine_(dnnl::engine::kind::cpu, 0),
        stream_(engine_) {}

  [[nodiscard]] std::string_view name() const override { return "onednn"; }
  [[nodiscard]] DType map_type() const override { return map_type_; }

 private:
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override {
    if (const auto* const layer = std::get_if<Conv2d>(&op)) return conv2d(*layer, in.front(), out);
    if (const auto* const layer = std::get_if<FullyConnected>(&op))
      return fully_connected(*layer, in.front(), out);
    return CpuEngine::make(op, in, out);
  }

  std::unique_ptr<Operation> conv2d(const Conv2d& layer, const MapGeometry& in, const MapGeometry& out) {
    if (!has_finite_weight(layer)) return plain(layer, out);
    if (winograd_suits(layer, map_type_)) {
      const Buffer& weight =
          winograd_weights_.get(layer.weight, [&] { return winograd_weight(layer, map_type_, device()); });
      return winograd_conv2d(layer, weight, out, threads());
    }
    const std::string& kernel = kernel_of(layer, in.whole, out.whole);
    if (kernel.empty()) return plain(layer, out);
    if (in.rect.empty()) return std::make_unique<BiasOnly>(layer);
    std::vector<Band> bands = cut_bands(layer, in, out);
    if (!accepted(layer, kernel, bands)) {
      for (Band& band : bands) band = with_zeros(band, layer.window);
    }
    const auto primitive_of = [&](const ConvShape& shape) -> const ConvPrimitive& {
      return conv_primitive(layer, kernel, shape);
    };
    return onednn::conv2d_operation(engine_, layer, bands, primitive_of, in, out, threads());
  }

  std::unique_ptr<Operation> fully_connected(const FullyConnected& layer, const MapGeometry& in,
                                             const MapGeometry& out) {
    const std::array<std::int64_t, 5> detail{number(layer.bias), in.images, layer.features.begin,
                                             layer.features.end, size_of(out.dtype)};
    const std::vector<FullyConnectedPiece>& pieces = fully_connected_.get(
        layer.weight, detail, [&] { return make_fully_connected(layer, in.images, out.dtype); });
    return onednn::fully_connected_operation(engine_, layer, pieces, out, threads());
  }

  // A weight in a format of oneDNN's.
  struct Packed {
    Buffer buffer;
    memory view;
  };
  using ConvDetail = std::array<std::int64_t, 13>;

  // NaN or infinity times the padding's zero is NaN. oneDNN leaves such products out or not by the tile's
  // shape, and Winograd's transforms subtract infinities; so layers with such weights go the plain way.
  bool has_finite_weight(const Conv2d& layer) {
    return finite_weights_.get(layer.weight, [&] {
      return std::all_of(layer.weight.begin(), layer.weight.end(), [](float w) { return std::isfinite(w); });
    });
  }

  std::unique_ptr<Operation> plain(const Conv2d& layer, const MapGeometry& out) {
    const Buffer& weight =
        plain_weights_.get(layer.weight, [&] { return plain_conv2d_weight(layer, device()); });
    return plain_conv2d(layer, weight, out, threads());
  }

  // Whether the kernel that computes the layer takes all bands. Asked once for each shape: oneDNN takes
  // milliseconds to answer.
  bool accepted(const Conv2d& layer, const std::string& kernel, std::span<const Band> bands) {
    const ThreadCount count(threads());
    try {
      return std::all_of(bands.begin(), bands.end(), [&](const Band& band) {
        return accepted_.get(layer.weight, {conv_detail(layer, band.shape), kernel}, [&] {
          throw_if_stopped();
          return conv_desc(layer, band.shape, kernel).has_value();
        });
      });
    } catch (const dnnl::error& error) {
      fail("a convolution", error);
    }
  }

  static std::int64_t number(const Parameter& parameter) { return static_cast<std::int64_t>(parameter.id()); }

  static ConvDetail conv_detail(const Conv2d& layer, const ConvShape& shape) {
    const Window& w = layer.window;
    return {number(layer.bias),  shape.in.height,   shape.in.width,     shape.out.height,
            shape.out.width,     shape.padding.top, shape.padding.left, shape.padding.bottom,
            shape.padding.right, w.stride.height,   w.stride.width,     w.dilation.height,
            w.dilation.width};
  }

  // Name of the kernel that computes the layer: of the direct ones that take the whole map, with its padding
  // or as zeros, the first. Empty: there is none.
  const std::string& kernel_of(const Conv2d& layer, Extent2 whole_in, Extent2 whole_out) {
    const Window& w = layer.window;
    return conv_kernels_.get(layer.weight, {whole_in, w.stride, w.padding.begin, w.padding.end, w.dilation},
                             [&] { return find_kernel(layer, whole_in, whole_out); });
  }

  std::string find_kernel(const Conv2d& layer, Extent2 whole_in, Extent2 whole_out) const {
    // A whole map's padding at the end is what the last window reaches.
    const auto end = [](const AxisWindow& axis, std::int64_t inputs, std::int64_t outputs) {
      return std::max<std::int64_t>(0, reach(axis, inputs, {0, outputs}).end - inputs);
    };
    const Window& w = layer.window;
    const Band whole{
        {0, whole_in.height},
        {0, whole_in.width},
        {0, whole_out.height},
        {whole_in,
         whole_out,
         {w.padding.begin.height, w.padding.begin.width, end(w.rows(), whole_in.height, whole_out.height),
          end(w.cols(), whole_in.width, whole_out.width)}}};
    const ThreadCount count(threads());
    try {
      for (const ConvShape& shape : {whole.shape, with_zeros(whole, w).shape}) {
        const auto made = conv_desc(layer, shape, "jit");
        if (made) return made->impl_info_str();
      }
    } catch (const dnnl::error& error) {
      fail("a convolution", error);
    }
    return {};
  }

  const ConvPrimitive& conv_primitive(const Conv2d& layer, const std::string& kernel,
                                      const ConvShape& shape) {
    return convolutions_.get(layer.weight, conv_detail(layer, shape), [&] {
      const ThreadCount count(threads());
      try {
        auto desc = conv_desc(layer, shape, kernel);
        if (!desc) desc = conv_desc(layer, shape, "");
        return ConvPrimitive{*desc, dnnl::convolution_forward(*desc), conv_weight(layer, *desc),
                             bias(layer.bias)};
      } catch (const dnnl::error& error) {
        fail("a convolution", error);
      }
    });
  }

  // The first of oneDNN's kernels whose name begins with `name`, if it has one for this shape.
  [[nodiscard]] std::optional<dnnl::convolution_forward::primitive_desc> conv_desc(
      const Conv2d& layer, const ConvShape& s, std::string_view name) const {
    const auto type = data_type(map_type_);
    const Window& w = layer.window;
    const memory::desc src({1, layer.in_channels, s.in.height, s.in.width}, type, memory::format_tag::nhwc);
    const memory::desc dst({1, layer.out_channels, s.out.height, s.out.width}, type,
                           memory::format_tag::nhwc);
    const memory::desc weight(conv_weight_dims(layer), type, memory::format_tag::any);
    const memory::desc bias_desc =
        layer.bias.empty()
            ? memory::desc()
            : memory::desc({layer.out_channels}, memory::data_type::f32, memory::format_tag::x);
    const dnnl::convolution_forward::desc desc(
        dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, src, weight, bias_desc, dst,
        {w.stride.height, w.stride.width}, {w.dilation.height - 1, w.dilation.width - 1},
        {s.padding.top, s.padding.left}, {s.padding.bottom, s.padding.right});
    const dnnl::primitive_attr attr = attributes();
    // Asking for the next implementation reads `desc` again: it must still be there (oneDNN keeps its
    // address).
    dnnl::convolution_forward::primitive_desc made(desc, attr, engine_);
    do {
      if (std::string_view(made.impl_info_str()).starts_with(name)) return made;
    } while (made.next_impl());
    return std::nullopt;
  }

  static memory::dims conv_weight_dims(const Conv2d& layer) {
    const Extent2 k = layer.window.kernel;
    const std::int64_t g = layer.groups;
    if (g == 1) return {layer.out_channels, layer.in_channels, k.height, k.width};
    return {g, layer.out_channels / g, layer.in_channels / g, k.height, k.width};
  }

  // Reorders the parameter's values from the one numbered `first` on, in the plain layout `tag`, into
  // `wanted`. Equal formats of one tensor are kept once.
  memory packed(const Parameter& weight, std::int64_t first, const memory::dims& dims, memory::format_tag tag,
                const memory::desc& wanted) {
    std::vector<Packed>& formats = packed_.get(weight, first, [] { return std::vector<Packed>(); });
    for (const Packed& have : formats) {
      if (have.view.get_desc() == wanted) return have.view;
    }
    memory plain({dims, memory::data_type::f32, tag}, engine_, const_cast<float*>(weight.data() + first));
    Buffer buffer = device().allocate(wanted.get_size());
    memory result(wanted, engine_, buffer.data());
    dnnl::reorder(plain, result).execute(stream_, plain, result);
    stream_.wait();
    formats.push_back({std::move(buffer), result});
    return result;
  }

  memory conv_weight(const Conv2d& layer, const dnnl::convolution_forward::primitive_desc& desc) {
    const auto tag = layer.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw;
    return packed(layer.weight, 0, conv_weight_dims(layer), tag, desc.weights_desc());
  }

  memory bias(std::span<const float> values) {
    if (values.empty()) return {};
    return memory({{static_cast<std::int64_t>(values.size())}, memory::data_type::f32, memory::format_tag::x},
                  engine_, const_cast<float*>(values.data()));
  }

  std::vector<FullyConnectedPiece> make_fully_connected(const FullyConnected& layer, std::int64_t images,
                                                        DType out_type) {
    const Interval features = layer.features;
    const ThreadCount count(1);
    std::vector<FullyConnectedPiece> pieces;
    for (std::int64_t begin = features.begin; begin < features.end; begin += features_of_piece)
      pieces.push_back(
          make_piece(layer, {begin, std::min(begin + features_of_piece, features.end)}, images, out_type));
    return pieces;
  }

  FullyConnectedPiece make_piece(const FullyConnected& layer, Interval features, std::int64_t images,
                                 DType out_type) {
    try {
      const auto type = data_type(map_type_);
      const std::int64_t size = features.size();
      const memory::desc src({images, layer.in_features}, type, memory::format_tag::nc);
      const memory::desc weight({size, layer.in_features}, type, memory::format_tag::any);
      const memory::desc dst({images, size}, data_type(out_type), memory::format_tag::nc);
      const std::span<const float> part =
          layer.bias.empty() ? layer.bias.values()
                             : layer.bias.values().subspan(static_cast<std::size_t>(features.begin),
                                                           static_cast<std::size_t>(size));
      const memory::desc bias_desc =
          part.empty() ? memory::desc() : memory::desc({size}, memory::data_type::f32, memory::format_tag::x);
      const dnnl::inner_product_forward::desc desc(dnnl::prop_kind::forward_inference, src, weight, bias_desc,
                                                   dst);
      const dnnl::inner_product_forward::primitive_desc pd(desc, attributes(), engine_);
      return {pd, dnnl::inner_product_forward(pd),
              packed(layer.weight, features.begin * layer.in_features, {size, layer.in_features},
                     memory::format_tag::nc, pd.weights_desc()),
              bias(part)};
    } catch (const dnnl::error& error) {
      fail("a fully connected layer", error);
    }
  }

  DType map_type_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  // Of the layers' weights. Primitives read biases where they are: the bias is part of the detail.
  MadeOfParameters<ConvPrimitive, ConvDetail> convolutions_;
  MadeOfParameters<bool, std::pair<ConvDetail, std::string>> accepted_;
  MadeOfParameters<bool> finite_weights_;
  MadeOfParameters<std::string, std::array<Extent2, 5>> conv_kernels_;
  MadeOfParameters<Buffer> plain_weights_;
  MadeOfParameters<Buffer> winograd_weights_;
  MadeOfParameters<std::vector<FullyConnectedPiece>, std::array<std::int64_t, 5>> fully_connected_;
  MadeOfParameters<std::vector<Packed>, std::int64_t> packed_;
};

}  // namespace

bool cpu_has_bf16() { return __builtin_cpu_supports("avx512bf16") != 0; }

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

std::unique_ptr<Engine> make_onednn_engine(DType map_type, int threads) {
  if (map_type != DType::f32 && map_type != DType::bf16) {
    throw UnsupportedError("engine onednn has maps of f32 and bf16, not of " +
                           std::string(to_string(map_type)));
  }
  if (map_type == DType::bf16 && !cpu_has_bf16()) {
    throw UnsupportedError(
        "precision bf16: this CPU has no bf16 arithmetic (AVX512_BF16); use precision: fp32");
  }
  return std::make_unique<OneDnnEngine>(map_type, threads);
}

}  // namespace halotile
