// What the pipeline tests share: files in a folder of their own, and networks from text.
#pragma once

#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "pipeline/network/network.hpp"

namespace halotile::support {

/// A folder that is gone, with all in it, when its owner is.
class TempFolder {
 public:
  TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  ~TempFolder();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Writes a file in the folder and returns its path.
  std::filesystem::path write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path path_;
};

/// The network of this model file text.
[[nodiscard]] Network network_of(const std::string& model);

/// Parts of a number of bits from a seed; one generator for all random cases.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(seed) {}
  /// Uniform in [low, high].
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }
  /// True once in `times` draws.
  bool once_in(std::int64_t times) { return integer(1, times) == 1; }

 private:
  std::mt19937_64 random_;
};

struct ModelLimits {
  std::int64_t edge = 24;      ///< of the input, at most
  std::int64_t channels = 12;  ///< of any map, at most (times groups)
  std::int64_t layers = 6;     ///< spatial ones, at most
  /// Kernels of convolutions up to 3, padding less than half of them, no dilation.
  bool usual_windows = false;
  bool vector_part = true;  ///< with flatten, fully connected layers, softmax now and then
};

/// The text of a model file with random layers in a legal order: every kind of layer, window and group.
[[nodiscard]] std::string random_model(Draw& draw, const ModelLimits& limits);

/// The same with layers that read any values before them: sums, products and concatenations of several,
/// values that are read twice, and several outputs. No vectors.
[[nodiscard]] std::string random_graph_model(Draw& draw, const ModelLimits& limits);

/// The message of the Error that `action` throws, with `folder` and the slash behind it left out; "" if none.
template <typename Error, typename Action>
[[nodiscard]] std::string message_of(const std::filesystem::path& folder, const Action& action) {
  std::string message;
  try {
    action();
    return message;
  } catch (const Error& error) {
    message = error.what();
  }
  const std::string prefix = folder.string() + "/";
  for (std::size_t at = message.find(prefix); at != std::string::npos; at = message.find(prefix))
    message.erase(at, prefix.size());
  return message;
}

}  // namespace halotile::support
