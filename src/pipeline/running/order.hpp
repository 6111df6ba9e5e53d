// Which instructions must have ended before another begins. Streams run in order, so of each stream the last
// instruction of interest stands for all before it, and nobody waits twice for the same.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace halotile {

/// Per stream: one behind the last instruction of interest; 0 for none.
using LastWork = std::vector<std::uint32_t>;

inline void raise(LastWork& to, const LastWork& by) {
  for (std::size_t s = 0; s < to.size(); ++s) to[s] = std::max(to[s], by[s]);
}

class InstructionOrder {
 public:
  InstructionOrder() = default;
  explicit InstructionOrder(std::size_t streams) : known_(streams, LastWork(streams)), last_(streams) {}

  [[nodiscard]] std::size_t streams() const { return last_.size(); }
  /// Of all instructions so far.
  [[nodiscard]] const LastWork& last() const { return last_; }
  /// The next instruction, number `index`, goes on `stream`: appends the instructions that its stream has to
  /// wait for to `waits`.
  void add(std::uint32_t index, std::size_t stream, const LastWork& needs,
           std::vector<std::uint32_t>& waits) {
    for (std::size_t s = 0; s < last_.size(); ++s) {
      if (s == stream || needs[s] <= known_[stream][s]) continue;
      known_[stream][s] = needs[s];
      waits.push_back(needs[s] - 1);
    }
    last_[stream] = index + 1;
  }

 private:
  std::vector<LastWork> known_;  // what each stream has waited for already
  LastWork last_;
};

}  // namespace halotile
