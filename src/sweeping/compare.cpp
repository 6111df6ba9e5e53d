#include "sweeping/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

namespace halotile {
namespace {

constexpr double family_level = 0.95;
constexpr std::size_t rounds_for_spread = 3;
constexpr std::size_t medians_for_drift = 3;
// Standard deviations between runs, of the logarithm of a median. Where drift was measured it counts, but not
// below what differs between two processes alone; where not, it is what was seen on a shared machine.
constexpr double smallest_drift = 0.01;
constexpr double assumed_drift = 0.02;

using Pair = std::pair<const MeasuredPoint*, const MeasuredPoint*>;

double median(const MeasuredRound& round) { return quantile(round.samples, 0.5); }

double median_of_rounds(const MeasuredPoint& point, std::size_t rounds) {
  std::vector<double> medians;
  for (std::size_t r = 0; r < rounds; ++r) medians.push_back(median(point.rounds[r]));
  return quantile(medians, 0.5);
}

// What drift may have done to a median at `level`, on the logarithmic scale.
double drift_reach(const MeasuredRound& round, double level) {
  if (round.drift_medians < medians_for_drift) return assumed_drift * normal_factor(level);
  // The floor is assumed, not estimated: no degrees of freedom to pay for.
  return std::max(smallest_drift * normal_factor(level),
                  round.drift * student_factor(level, round.drift_medians - 1));
}

// Of one round. The medians' interval is taken at 95% and scaled to `level`, as a median's distribution is
// close to normal: at a higher level its ends would be the extreme samples, which tell of outliers alone.
Estimate ratio_within(const MeasuredRound& a, const MeasuredRound& b, double level) {
  const Estimate r = ratio_of_medians(a.samples, b.samples, family_level);
  const double scale = normal_factor(level) / normal_factor(family_level);
  const double drift = std::hypot(drift_reach(a, level), drift_reach(b, level));
  return {r.value * std::exp(-std::hypot(scale * std::log(r.value / r.low), drift)), r.value,
          r.value * std::exp(std::hypot(scale * std::log(r.high / r.value), drift))};
}

Estimate ratio_over_rounds(const MeasuredPoint& a, const MeasuredPoint& b, std::size_t rounds, double level) {
  std::vector<double> logarithms;
  for (std::size_t r = 0; r < rounds; ++r)
    logarithms.push_back(std::log(median(b.rounds[r]) / median(a.rounds[r])));
  const Estimate mean = mean_interval(logarithms, level);
  return {std::exp(mean.low), std::exp(mean.value), std::exp(mean.high)};
}

Verdict verdict_of(const Estimate& ratio, double threshold) {
  if (ratio.low > 1 + threshold) return Verdict::slower;
  if (ratio.high < 1 - threshold) return Verdict::faster;
  if (ratio.low >= 1 - threshold && ratio.high <= 1 + threshold) return Verdict::same;
  return Verdict::undecided;
}

std::string disturbance(const MeasuredPoint& a, const MeasuredPoint& b) {
  for (const auto& [name, point] : {std::pair{"A", &a}, std::pair{"B", &b}}) {
    const std::vector<std::string>& seen = point->rounds.front().disturbances;
    if (!seen.empty()) return fmt::format("{} was disturbed: {}", name, seen.front());
  }
  return {};
}

std::optional<bool> same_bits(const MeasuredPoint& a, const MeasuredPoint& b) {
  std::optional<bool> same;
  for (const MeasuredRound& ra : a.rounds) {
    for (const MeasuredRound& rb : b.rounds) {
      if (ra.logits_hash.empty() || rb.logits_hash.empty() || ra.input_hash != rb.input_hash) continue;
      same = same.value_or(true) && ra.logits_hash == rb.logits_hash;
    }
  }
  return same;
}

ComparedPoint compare_points(const MeasuredPoint& a, const MeasuredPoint& b, double threshold, double level) {
  ComparedPoint point;
  point.name = a.name;
  point.rounds = std::min(a.rounds.size(), b.rounds.size());
  point.same_bits = same_bits(a, b);
  if (!a.failure.empty() || !b.failure.empty() || point.rounds == 0) {
    point.broken = a.failure.empty() && !b.failure.empty();
    point.reason =
        b.failure.empty() ? "A could not be measured: " + a.failure : "B could not be measured: " + b.failure;
    return point;
  }
  const bool spread_seen = point.rounds >= rounds_for_spread;
  if (!spread_seen) point.rounds = 1;  // two show too little: the first alone
  point.a_ms = median_of_rounds(a, point.rounds);
  point.b_ms = median_of_rounds(b, point.rounds);
  point.ratio = spread_seen ? ratio_over_rounds(a, b, point.rounds, level)
                            : ratio_within(a.rounds.front(), b.rounds.front(), level);
  // What disturbed a single round may have lasted from its first sample to its last: no interval shows it.
  point.reason = spread_seen ? std::string() : disturbance(a, b);
  if (!point.reason.empty()) return point;
  point.verdict = verdict_of(point.ratio, threshold);
  if (point.verdict == Verdict::undecided) {
    point.reason = "the interval reaches over the threshold; measure longer, or in more rounds";
  }
  return point;
}

std::map<std::string, std::vector<const MeasuredPoint*>> by_key(const std::vector<MeasuredPoint>& side,
                                                                std::size_t key,
                                                                const std::set<const MeasuredPoint*>& done) {
  std::map<std::string, std::vector<const MeasuredPoint*>> points;
  for (const MeasuredPoint& p : side) {
    if (!p.keys[key].empty() && !done.contains(&p)) points[p.keys[key]].push_back(&p);
  }
  return points;
}

// In A's order.
std::vector<Pair> match(const std::vector<MeasuredPoint>& a, const std::vector<MeasuredPoint>& b) {
  std::vector<Pair> pairs;
  std::set<const MeasuredPoint*> done;
  for (std::size_t key = 0; key < MeasuredPoint{}.keys.size(); ++key) {
    const auto in_b = by_key(b, key, done);
    for (const auto& [value, points] : by_key(a, key, done)) {
      const auto found = in_b.find(value);
      if (found == in_b.end() || points.size() != 1 || found->second.size() != 1) continue;
      pairs.emplace_back(points.front(), found->second.front());
      done.insert({points.front(), found->second.front()});
    }
  }
  std::sort(pairs.begin(), pairs.end(), [](const Pair& x, const Pair& y) { return x.first < y.first; });
  return pairs;
}

}  // namespace

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::faster:
      return "FASTER";
    case Verdict::slower:
      return "SLOWER";
    case Verdict::same:
      return "SAME";
    case Verdict::undecided:
      break;
  }
  return "UNDECIDED";
}

std::size_t ComparedSides::count(Verdict verdict) const {
  return static_cast<std::size_t>(
      std::count_if(points.begin(), points.end(), [&](const auto& p) { return p.verdict == verdict; }));
}

bool ComparedSides::worse() const {
  return std::any_of(points.begin(), points.end(), [](const ComparedPoint& p) {
    return p.verdict == Verdict::slower || p.broken || !p.same_bits.value_or(true);
  });
}

ComparedSides compare_sides(const std::vector<MeasuredPoint>& a, const std::vector<MeasuredPoint>& b,
                            double threshold) {
  const std::vector<Pair> pairs = match(a, b);
  ComparedSides result;
  result.level = 1 - (1 - family_level) / static_cast<double>(std::max<std::size_t>(1, pairs.size()));
  for (const auto& [pa, pb] : pairs) {
    result.points.push_back(compare_points(*pa, *pb, threshold, result.level));
  }
  for (const MeasuredPoint& p : a) {
    if (std::none_of(pairs.begin(), pairs.end(), [&](const Pair& pair) { return pair.first == &p; }))
      result.only_a.push_back(p.name);
  }
  for (const MeasuredPoint& p : b) {
    if (std::none_of(pairs.begin(), pairs.end(), [&](const Pair& pair) { return pair.second == &p; }))
      result.only_b.push_back(p.name);
  }
  return result;
}

}  // namespace halotile
