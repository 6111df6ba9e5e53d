// Seeded values that are the same bits on every machine: a counter-based generator, so that element i of a
// sequence does not depend on who asks for it, in which order, or on how many threads.
//
// Element i of sequence s under seed k is splitmix64(splitmix64(k ^ splitmix64(s)) + i), with splitmix64(x)
// Steele, Lea and Flood's finalizer of x + 0x9e3779b97f4a7c15. Its upper 24 bits make a float in [-1, 1),
// exactly.
#pragma once

#include <cstdint>
#include <string_view>

namespace halotile {

[[nodiscard]] constexpr std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

class RandomSequence {
 public:
  constexpr RandomSequence(std::uint64_t seed, std::uint64_t sequence)
      : base_(splitmix64(seed ^ splitmix64(sequence))) {}
  /// The sequence is named by a word (64-bit FNV-1a of its bytes).
  constexpr RandomSequence(std::uint64_t seed, std::string_view name) : RandomSequence(seed, hash(name)) {}

  [[nodiscard]] constexpr std::uint64_t bits(std::uint64_t index) const { return splitmix64(base_ + index); }
  /// Uniform in [-1, 1), a multiple of 2^-23.
  [[nodiscard]] constexpr float uniform(std::uint64_t index) const {
    return static_cast<float>(bits(index) >> 40) * 0x1p-23F - 1.0F;
  }

 private:
  static constexpr std::uint64_t hash(std::string_view name) {
    std::uint64_t h = 0xcbf29ce484222325ULL;
    for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return h;
  }

  std::uint64_t base_;
};

}  // namespace halotile
