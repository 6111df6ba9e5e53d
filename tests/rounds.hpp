// How often random tests draw.
#pragma once

namespace halotile {

/// `all` rounds, which release builds do; one in `share` where sanitizers run: they take 20 to 100 times as
/// long, and look for wrong accesses, which do not hide in single cases as wrong numbers do.
constexpr int rounds([[maybe_unused]] int all, [[maybe_unused]] int share) {
#ifdef HALOTILE_SANITIZED
  return all / share;
#else
  return all;
#endif
}

}  // namespace halotile
