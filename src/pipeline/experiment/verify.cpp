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
void compare_elements(const ConstMapView& expected, const ConstMapView& got, const MapOwner& owner,
                      std::int64_t first_image, Comparison& result) {
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
          if (owner.stage != nullptr) {
            const auto [rows, cols] = owner.stage->tiles_meeting(Rect{{y, y + 1}, {x, x + 1}}, owner.output);
            first.tile.stage = owner.stage->number();
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

// Outputs of one node, where they lie: on a device of its own memory, only maps that differ are fetched.
Comparison compare_bits(Engine& engine, Executor& whole, Executor& patched, std::size_t node,
                        const MapOwner& owner, std::int64_t first_image) {
  const ConstMapView expected = whole.device_output(node);
  const ConstMapView got = patched.device_output(node);
  if (expected.data != nullptr && got.data != nullptr && engine.differing(expected, got) == 0) {
    Comparison equal;
    equal.elements = expected.elements();
    return equal;
  }
  return compare(whole.output(node), patched.output(node), owner, first_image);
}

// Whose output is compared, and who owns it.
struct Compared {
  std::size_t node = 0;
  MapOwner owner;
};

// What every stage makes; behind the feature maps, what the network puts out. Then the logits, which may be
// among them.
std::vector<Compared> what_to_compare(const Network& network, const std::vector<StagePlan>& plan) {
  std::vector<Compared> all;
  const std::size_t logits = network.logits();
  Compared last{logits, {}};
  for (const StagePlan& stage : plan) {
    for (const std::size_t output : stage.outputs()) {
      all.push_back({stage.number_in_graph(output) - 1, {&stage, output}});
      if (all.back().node == logits) last = all.back();
    }
  }
  for (const std::size_t value : network.outputs) {
    const bool of_logits = value == network.outputs.front();
    if (!network.values[value].spatial && !of_logits) all.push_back({value - 1, {}});
  }
  all.push_back(last);
  return all;
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
  stage = other.stage;
  elements += other.elements;
  different += other.different;
  max_abs = std::max(max_abs, other.max_abs);
  max_rel = std::max(max_rel, other.max_rel);
  max_ulp = std::max(max_ulp, other.max_ulp);
  if (!first) first = other.first;
}

Comparison compare(const ConstMapView& expected, const ConstMapView& got, const MapOwner& owner,
                   std::int64_t first_image) {
  Comparison result;
  result.elements = expected.elements();
  if (expected.dtype != got.dtype) throw ShapeError("compare: the maps must have the same element type");
  with_element_type(expected.dtype, [&](auto type) {
    compare_elements<decltype(type)>(expected, got, owner, first_image, result);
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
  for (const StageValues& stage : session.stages(saved_layers(session.experiment(), network))) {
    for (const std::size_t value : stage.outputs) keep.insert(value - 1);
  }
  const std::size_t logits = network.logits();
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
    const std::vector<Compared> all = what_to_compare(network, patched->plan());
    result.stages.resize(all.size() - 1);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto& [node, owner] = all[i];
      Comparison compared = compare_bits(session.engine(), *whole, *patched, node, owner, batch.begin);
      compared.layer = network.nodes[node].name;
      compared.stage = owner.stage == nullptr ? -1 : owner.stage->number();
      (i + 1 < all.size() ? result.stages[i] : result.logits).merge(compared);
    }
    add_to(logits_hash, patched->output(logits));
    result.images += batch.size();
  }
  result.logits_hash = logits_hash.digits();
  return result;
}

}  // namespace halotile
