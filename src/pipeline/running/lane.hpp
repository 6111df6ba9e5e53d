// The memory in which the parts of a stage are computed, one after the other, step by step: where the maps
// between the steps and the scratch of the steps' operations lie, who shares a place with whom, and what
// that means for copies of borders that go on beside the steps.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace halotile {

/// Maps are numbered by the step that reads them: 0 is the stage's input, steps() its output, which do not
/// lie here. Step s reads map s, writes map s + 1 and uses scratch s; these never overlap.
class Lane {
 public:
  struct Span {
    std::size_t at = 0;
    std::size_t bytes = 0;

    [[nodiscard]] std::size_t end() const { return at + bytes; }
    [[nodiscard]] bool overlaps(const Span& other) const {
      return bytes > 0 && other.bytes > 0 && at < other.end() && other.at < end();
    }
  };

  Lane() = default;
  /// Bytes of maps 0 to steps() (the first's and the last's do not count) and of each step's scratch.
  /// `several`: parts follow each other, and scratch 0 may be written for the next one as soon as possible.
  Lane(const std::vector<std::size_t>& maps, const std::vector<std::size_t>& scratch, bool several);

  [[nodiscard]] std::size_t steps() const { return scratch_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] const Span& map(std::size_t number) const { return maps_[number]; }
  [[nodiscard]] const Span& scratch(std::size_t step) const { return scratch_[step]; }

  /// The first step that, as all behind it, leaves scratch 0 alone; 0: none, or there is no such scratch.
  [[nodiscard]] std::size_t ahead() const { return ahead_; }

  /// The first step beside which something may be put into a map: what lay there before is of no more use.
  /// It comes before step `map`.
  [[nodiscard]] std::size_t fetched_beside(std::size_t map) const;
  /// Of maps with `kept` borders, beside each step the borders of what it reads are copied away, and those
  /// of the maps for which it is the first such step are put into these. The last step, if any, whose copies
  /// `step` has to wait for, if all copies of parts before have ended.
  [[nodiscard]] std::optional<std::size_t> waits_for(std::size_t step, const std::vector<bool>& kept) const;

 private:
  void place(Span& span, const std::vector<const Span*>& beside, const Span* if_possible, std::size_t limit);

  std::vector<Span> maps_;
  std::vector<Span> scratch_;
  std::size_t ahead_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace halotile
