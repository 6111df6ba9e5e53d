#include "pipeline/experiment/verify.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "pipeline/experiment/hash.hpp"

namespace halotile {
namespace {

// Position of a value among all values of its type in ascending order: neighbours differ by 1, -0 and +0 are
// next to each other.
template <typename Bits>
std::int64_t rank_of(Bits bits) {
  constexpr Bits sign = Bits{1} << (8 * sizeof(Bits) - 1);
  const auto magnitude = static_cast<std::int64_t>(bits & static_cast<Bits>(~sign));
  return (bits & sign) != 0 ? -magnitude - 1 : magnitude;
}

struct Element {
  std::uint32_t bits;
  std::int64_t rank;
  double value;
  bool poison;  // what maps are filled with before a run: bits of ones, a NaN
};

template <typename T>
Element element(const T& x) {
  if constexpr (sizeof(T) == 4) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    return {bits, rank_of(bits), static_cast<double>(x), bits == 0xffffffffU};
  } else {
    return {x.bits, rank_of(x.bits), static_cast<double>(static_cast<float>(x)), x.bits == 0xffffU};
  }
}

// Any NaN equals any other, since which of several a sum keeps says nothing; but for one that nobody wrote.
bool equal(const Element& a, const Element& b) {
  return a.bits == b.bits || (std::isnan(a.value) && std::isnan(b.value) && a.poison == b.poison);
}

template <typename T>
void compare_elements(const ConstMapView& expected, const ConstMapView& got, const StagePlan* stage,
                      std::int64_t stage_number, std::int64_t first_image, Comparison& result) {
  for (std::int64_t n = 0; n < expected.images; ++n) {
    for (std::int64_t y = expected.rect.rows.begin; y < expected.rect.rows.end; ++y) {
      for (std::int64_t x = expected.rect.cols.begin; x < expected.rect.cols.end; ++x) {
        const T* const a = expected.at<T>(n, y, x);
        const T* const b = got.at<T>(n, y, x);
        for (std::int64_t c = 0; c < expected.channels; ++c) {
          const Element want = element(a[c]);
          const Element have = element(b[c]);
          if (equal(want, have)) continue;
          const double difference = std::abs(want.value - have.value);
          const double infinite = std::numeric_limits<double>::infinity();
          result.max_abs = std::max(result.max_abs, std::isnan(difference) ? infinite : difference);
          const double relative = difference == 0 ? 0 : difference / std::abs(want.value);
          result.max_rel = std::max(result.max_rel, std::isnan(relative) ? infinite : relative);
          result.max_ulp =
              std::max(result.max_ulp, static_cast<std::uint64_t>(std::abs(want.rank - have.rank)));
          if (result.different++ > 0) continue;
          FirstDifference first{{first_image + n, -1, 0, 0}, y, x, c, want.value, have.value};
          if (stage != nullptr) {
            const auto [rows, cols] = stage->tiles_meeting(Rect{{y, y + 1}, {x, x + 1}});
            first.tile.stage = stage_number;
            first.tile.row = rows.begin;
            first.tile.column = cols.begin;
          }
          result.first = first;
        }
      }
    }
  }
}

void add_to(Hash& hash, const ConstMapView& map) {
  with_element_type(map.dtype, [&](auto type) {
    for (std::int64_t n = 0; n < map.images; ++n) {
      for (std::int64_t y = map.rect.rows.begin; y < map.rect.rows.end; ++y) {
        for (std::int64_t x = map.rect.cols.begin; x < map.rect.cols.end; ++x) {
          const decltype(type)* const first = map.at<decltype(type)>(n, y, x);
          hash.add(std::as_bytes(std::span(first, static_cast<std::size_t>(map.channels))));
        }
      }
    }
  });
}

// Outputs of one layer, where they lie: on a device of its own memory, only maps that differ are fetched.
Comparison compare_outputs(Engine& engine, Executor& whole, Executor& patched, std::size_t layer,
                           const StagePlan* stage, std::int64_t stage_number, std::int64_t first_image) {
  const ConstMapView expected = whole.device_output(layer);
  const ConstMapView got = patched.device_output(layer);
  if (expected.data != nullptr && got.data != nullptr && engine.differing(expected, got) == 0) {
    Comparison equal;
    equal.elements = expected.elements();
    return equal;
  }
  return compare(whole.output(layer), patched.output(layer), stage, stage_number, first_image);
}

void fill_inputs(const Session& session, Interval batch, Executor& whole, Executor& patched) {
  session.input().fill(batch, whole.input());
  const MapView from = whole.input();
  const MapView to = patched.input();
  if (from.dtype == to.dtype) {
    std::memcpy(to.data, from.data, static_cast<std::size_t>(from.elements() * size_of(from.dtype)));
  } else {
    session.input().fill(batch, to);
  }
  whole.load_input();
  patched.load_input();
}

}  // namespace

void Comparison::merge(const Comparison& other) {
  layer = other.layer;
  elements += other.elements;
  different += other.different;
  max_abs = std::max(max_abs, other.max_abs);
  max_rel = std::max(max_rel, other.max_rel);
  max_ulp = std::max(max_ulp, other.max_ulp);
  if (!first) first = other.first;
}

Comparison compare(const ConstMapView& expected, const ConstMapView& got, const StagePlan* stage,
                   std::int64_t stage_number, std::int64_t first_image) {
  Comparison result;
  result.elements = expected.elements();
  if (expected.dtype != got.dtype) throw ShapeError("compare: the maps must have the same element type");
  with_element_type(expected.dtype, [&](auto type) {
    compare_elements<decltype(type)>(expected, got, stage, stage_number, first_image, result);
  });
  return result;
}

bool Verification::equal_bits() const {
  return logits.equal_bits() &&
         std::all_of(stages.begin(), stages.end(), [](const Comparison& c) { return c.equal_bits(); });
}

std::int64_t Verification::elements() const {
  std::int64_t sum = logits.elements;
  for (const Comparison& stage : stages) sum += stage.elements;
  return sum;
}

std::int64_t Verification::different() const {
  std::int64_t sum = logits.different;
  for (const Comparison& stage : stages) sum += stage.different;
  return sum;
}

Verification verify(const Session& session) {
  const Network& network = session.network();
  std::set<std::size_t> keep;
  for (const StageRange& stage : session.stages(saved_layers(session.experiment(), network))) {
    keep.insert(stage.last - 1);
  }
  const std::size_t logits = network.logits_layer();
  keep.insert(logits);
  Verification result;
  std::unique_ptr<Executor> patched;
  std::unique_ptr<Executor> whole;
  std::int64_t made_for = 0;
  Hash logits_hash;
  for (const Interval batch : session.batches()) {
    if (batch.size() != made_for) {
      patched.reset();
      whole.reset();
      patched = session.make_executor(batch.size(), keep, true);
      whole = session.make_whole_executor(batch.size(), keep);
      made_for = batch.size();
    }
    fill_inputs(session, batch, *whole, *patched);
    whole->run();
    patched->run();
    result.stages.resize(patched->plan().size());
    for (std::size_t s = 0; s < patched->plan().size(); ++s) {
      const StagePlan& stage = patched->plan()[s];
      const std::size_t layer = stage.range().last - 1;
      Comparison compared = compare_outputs(session.engine(), *whole, *patched, layer, &stage,
                                            static_cast<std::int64_t>(s), batch.begin);
      compared.layer = network.layers[layer].name;
      result.stages[s].merge(compared);
    }
    // Logits in a feature map are a stage's output too; softmax behind them may be a further stage.
    const std::vector<StagePlan>& plan = patched->plan();
    const auto owner = std::find_if(plan.begin(), plan.end(),
                                    [logits](const StagePlan& s) { return s.range().last == logits + 1; });
    Comparison compared =
        compare_outputs(session.engine(), *whole, *patched, logits, owner == plan.end() ? nullptr : &*owner,
                        owner - plan.begin(), batch.begin);
    compared.layer = network.layers[logits].name;
    result.logits.merge(compared);
    add_to(logits_hash, patched->output(logits));
    result.images += batch.size();
  }
  result.logits_hash = logits_hash.digits();
  return result;
}

}  // namespace halotile
