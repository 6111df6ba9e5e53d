#include "pipeline/running/memory_plan.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "pipeline/running/placement.hpp"

namespace halotile {
namespace {

using Order = std::vector<std::size_t>;

// One after the other, each at the lowest offset that is free for as long as it lives.
MemoryPlan lay_out(std::span<const Lifetime> values, const Order& order) {
  struct Taken {
    std::size_t begin;
    std::size_t end;
  };
  MemoryPlan plan{std::vector<std::size_t>(values.size()), 0};
  Order placed;
  for (const std::size_t v : order) {
    const std::size_t bytes = aligned(values[v].bytes);
    std::vector<Taken> beside;
    for (const std::size_t p : placed) {
      if (values[v].meets(values[p]) && values[p].bytes > 0)
        beside.push_back({plan.offsets[p], plan.offsets[p] + aligned(values[p].bytes)});
    }
    std::ranges::sort(beside, {}, &Taken::begin);
    std::size_t at = 0;
    for (const Taken& taken : beside) {
      if (bytes > 0 && at + bytes <= taken.begin) break;
      at = std::max(at, taken.end);
    }
    if (bytes == 0) at = 0;
    plan.offsets[v] = at;
    plan.bytes = std::max(plan.bytes, at + bytes);
    placed.push_back(v);
  }
  return plan;
}

// Two halves, where values can be split so that no two of a half meet.
std::optional<MemoryPlan> two_halves(std::span<const Lifetime> values) {
  Order order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t v) { return values[v].first; });
  std::vector<std::size_t> half(values.size());
  std::size_t end[2] = {0, 0};  // one behind the last step of what each half holds
  std::size_t largest[2] = {0, 0};
  std::size_t next = 0;
  for (const std::size_t v : order) {
    if (end[next] > values[v].first) next = 1 - next;
    if (end[next] > values[v].first) return std::nullopt;
    half[v] = next;
    end[next] = values[v].last + 1;
    largest[next] = std::max(largest[next], aligned(values[v].bytes));
    next = 1 - next;
  }
  MemoryPlan plan{std::vector<std::size_t>(values.size()), largest[0] + largest[1]};
  for (std::size_t v = 0; v < values.size(); ++v) plan.offsets[v] = half[v] == 0 ? 0 : largest[0];
  return plan;
}

}  // namespace

MemoryPlan plan_memory(std::span<const Lifetime> values) {
  Order order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t v) { return values[v].first; });
  MemoryPlan best = lay_out(values, order);
  std::ranges::stable_sort(order, std::greater<>(), [&](std::size_t v) { return values[v].bytes; });
  if (MemoryPlan plan = lay_out(values, order); plan.bytes < best.bytes) best = std::move(plan);
  if (std::optional<MemoryPlan> plan = two_halves(values); plan && plan->bytes < best.bytes)
    best = std::move(*plan);
  return best;
}

}  // namespace halotile
