#include "pipeline/experiment/hash.hpp"

#include <fmt/format.h>

namespace halotile {

std::string Hash::digits() const { return fmt::format("{:016x}", value_); }

std::string hash_text(std::string_view text) {
  Hash hash;
  hash.add(text);
  return hash.digits();
}

}  // namespace halotile
