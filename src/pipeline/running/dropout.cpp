#include "pipeline/running/dropout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "patching/error.hpp"
#include "pipeline/network/random.hpp"

namespace halotile {
namespace {

class SampledDropout final : public Operation {
 public:
  SampledDropout(const Node& node, const MapShape& memory, const DropoutSample& sample)
      : name_(node.name),
        p_(node.as<Dropout>()->probability),
        scale_(p_ < 1.0F ? 1.0F / (1.0F - p_) : 0.0F),
        memory_(memory),
        sample_(sample) {}

  void run(std::span<const ConstMapView> ins, const MapView& out, const RunContext& context) override {
    const ConstMapView& in = ins.front();
    with_element_type(in.dtype, [&](auto from) {
      with_element_type(out.dtype,
                        [&](auto to) { drop<decltype(from), decltype(to)>(in, out, context.first_image); });
    });
  }

 private:
  template <typename From, typename To>
  void drop(const ConstMapView& in, const MapView& out, std::int64_t first_image) const {
    // A vector that was flattened is one position whose channels are the elements of the map it was.
    const std::int64_t area = memory_.extent.area();
    const std::int64_t channels = memory_.channels;
    const bool flattened = out.channels != channels;
    const std::uint64_t of_sample =
        RandomSequence(sample_.seed, name_).bits(static_cast<std::uint64_t>(sample_.sample));
    for (std::int64_t n = 0; n < out.images; ++n) {
      const std::int64_t image = sample_.images[static_cast<std::size_t>(first_image + n)];
      const RandomSequence sequence(of_sample, static_cast<std::uint64_t>(image));
      for (std::int64_t row = out.rect.rows.begin; row < out.rect.rows.end; ++row) {
        for (std::int64_t col = out.rect.cols.begin; col < out.rect.cols.end; ++col) {
          const From* const from = in.at<From>(n, row, col);
          To* const to = out.at<To>(n, row, col);
          const std::int64_t position = row * out.whole.width + col;
          for (std::int64_t c = 0; c < out.channels; ++c) {
            const std::int64_t element = flattened ? c % channels * area + c / channels : c * area + position;
            const auto bits = sequence.bits(static_cast<std::uint64_t>(element)) >> 40;
            const bool kept = static_cast<float>(bits) * 0x1p-24F >= p_;
            to[c] = static_cast<To>(kept ? static_cast<float>(from[c]) * scale_ : 0.0F);
          }
        }
      }
    }
  }

  std::string name_;
  float p_;
  float scale_;
  MapShape memory_;
  const DropoutSample& sample_;
};

}  // namespace

void DropoutSample::choose(std::int64_t new_sample, std::span<const std::int64_t> new_images) {
  if (new_images.size() != images.size()) {
    throw ShapeError(
        fmt::format("dropout: {} image numbers for a batch of {}", new_images.size(), images.size()));
  }
  sample = new_sample;
  std::copy(new_images.begin(), new_images.end(), images.begin());
}

DropoutSample first_sample(std::uint64_t seed, std::int64_t batch) {
  DropoutSample first{seed, 0, std::vector<std::int64_t>(static_cast<std::size_t>(batch))};
  std::iota(first.images.begin(), first.images.end(), 0);
  return first;
}

std::unique_ptr<Operation> make_dropout(const Node& node, const MapShape& memory, const DropoutSample& sample,
                                        Engine& engine) {
  if (!engine.device().host_memory()) {
    throw UnsupportedError(fmt::format(
        "dropout: engine {} on {} cannot sample dropout masks (layer {}); use device: cpu, or leave "
        "dropout out",
        engine.name(), engine.device().name(), node.name));
  }
  return std::make_unique<SampledDropout>(node, memory, sample);
}

}  // namespace halotile
