// Choices that name an engine and what it runs on, and their spelling in configs, reports and stores.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace halotile {

enum class DeviceKind : std::uint8_t { cpu, cuda };
enum class EngineKind : std::uint8_t { onednn, reference, direct, tensor_core, cudnn };
/// What products are computed in; maps are of f32, f32, bf16 and f16.
enum class Precision : std::uint8_t { fp32, tf32, bf16, fp16 };
/// What convolutions of the `direct` engine stage in shared memory; automatic: what is expected to be faster.
enum class DirectStage : std::uint8_t { automatic, input, filter };

/// The words of a choice, in the order of its values.
template <typename Choice>
inline constexpr std::array<std::string_view, 0> words_of{};
template <>
inline constexpr std::array<std::string_view, 2> words_of<DeviceKind>{"cpu", "cuda"};
template <>
inline constexpr std::array<std::string_view, 5> words_of<EngineKind>{"onednn", "reference", "direct",
                                                                      "tensor_core", "cudnn"};
template <>
inline constexpr std::array<std::string_view, 4> words_of<Precision>{"fp32", "tf32", "bf16", "fp16"};
template <>
inline constexpr std::array<std::string_view, 3> words_of<DirectStage>{"auto", "input", "filter"};

template <typename Choice>
[[nodiscard]] constexpr std::string_view word(Choice choice) {
  return words_of<Choice>.at(static_cast<std::size_t>(choice));
}

/// The value that a word names, if one does.
template <typename Choice>
[[nodiscard]] constexpr std::optional<Choice> choice_of(std::string_view text) {
  for (std::size_t i = 0; i < words_of<Choice>.size(); ++i) {
    if (words_of<Choice>[i] == text) return static_cast<Choice>(i);
  }
  return std::nullopt;
}

}  // namespace halotile
