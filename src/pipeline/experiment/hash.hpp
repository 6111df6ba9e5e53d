// 64-bit FNV-1a, as the 16 hexadecimal digits that stores keep.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace halotile {

class Hash {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte b : bytes) value_ = (value_ ^ static_cast<std::uint64_t>(b)) * 0x100000001b3U;
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  [[nodiscard]] std::string digits() const;

 private:
  std::uint64_t value_ = 0xcbf29ce484222325U;
};

[[nodiscard]] std::string hash_text(std::string_view text);

}  // namespace halotile
