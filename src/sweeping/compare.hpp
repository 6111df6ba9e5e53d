// Two sets of measured points against each other: is B faster or slower than A?
//
// What a verdict must survive is not the noise within a run but what changes between runs: the clock, the
// neighbours, where memory came to lie. Three rounds or more (A, B, A, B, ...) show that spread themselves,
// and the interval is Student's over the rounds. With fewer, it is the two medians' interval widened by the
// machine's drift: measured where the reference point of a sweep was repeated, assumed otherwise. All
// intervals of a comparison hold together (Bonferroni). docs/compare.md has the model and how often it errs.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/measuring/statistics.hpp"

namespace halotile {

/// One point measured once.
struct MeasuredRound {
  std::vector<double> samples;  ///< in milliseconds, in their order; not empty
  /// How far the logarithm of the reference point's median wandered while the sweep ran: standard deviation
  /// and from how many medians; 0 medians: not measured.
  double drift = 0;
  std::size_t drift_medians = 0;
  std::string logits_hash;                ///< empty: unknown
  std::string input_hash;                 ///< logits of unequal inputs are not compared
  std::vector<std::string> disturbances;  ///< in words
};

struct MeasuredPoint {
  std::string name;  ///< for people: "patch.size=32 streams=2"
  /// Points with an equal key are compared: the first where both have it, and nobody else of their sides,
  /// decides. The surest comes first; empty: unknown.
  std::array<std::string, 3> keys;
  std::vector<MeasuredRound> rounds;
  std::string failure;  ///< why there is a round without times; empty: there is none
};

enum class Verdict : std::uint8_t { faster, slower, same, undecided };

[[nodiscard]] const char* to_string(Verdict verdict);  ///< "FASTER"

struct ComparedPoint {
  std::string name;
  double a_ms = 0;  ///< median of the rounds' medians
  double b_ms = 0;
  Estimate ratio;  ///< B / A
  Verdict verdict = Verdict::undecided;
  std::string reason;             ///< of UNDECIDED; else empty
  std::optional<bool> same_bits;  ///< of the logits, where both sides know them
  bool broken = false;            ///< B could not be measured, A could
  std::size_t rounds = 0;
};

struct ComparedSides {
  std::vector<ComparedPoint> points;  ///< in A's order
  std::vector<std::string> only_a;
  std::vector<std::string> only_b;
  double level = 0.95;  ///< of each interval, so that all hold together with 95%

  [[nodiscard]] std::size_t count(Verdict verdict) const;
  /// Something is slower, broken, or has other bits.
  [[nodiscard]] bool worse() const;
};

/// SAME: the interval lies within [1 - threshold, 1 + threshold]; SLOWER: above it; FASTER: below.
[[nodiscard]] ComparedSides compare_sides(const std::vector<MeasuredPoint>& a,
                                          const std::vector<MeasuredPoint>& b, double threshold);

}  // namespace halotile
