#include <algorithm>
#include <numeric>
#include <random>

#include "sweeping/sweep_plan.hpp"

namespace halotile {
namespace {

// Beyond it, looking for the best neighbour would take long, and chance alone mixes well.
constexpr std::size_t most_to_match = 4096;

std::size_t differing(const std::vector<std::size_t>& a, const std::vector<std::size_t>& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1U : 0U;
  return count;
}

}  // namespace

std::vector<std::size_t> interleaved(const std::vector<std::vector<std::size_t>>& settings) {
  std::vector<std::size_t> order(settings.size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(1);
  // std::shuffle may differ from library to library.
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  if (order.size() > most_to_match) return order;
  for (std::size_t i = 1; i < order.size(); ++i) {
    std::size_t best = i;
    std::size_t most = 0;
    for (std::size_t j = i; j < order.size(); ++j) {
      const std::size_t difference = differing(settings[order[i - 1]], settings[order[j]]);
      if (difference <= most) continue;
      most = difference;
      best = j;
      if (most == settings[order[j]].size()) break;
    }
    std::rotate(order.begin() + static_cast<std::ptrdiff_t>(i),
                order.begin() + static_cast<std::ptrdiff_t>(best),
                order.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  return order;
}

}  // namespace halotile
