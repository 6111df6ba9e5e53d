// Weights by identity. What engines prepare of a layer's values must be found again by what it was made of,
// and an address does not tell that: the next network's weights may lie where the last one's were.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

namespace halotile {

/// Values that do not change, shared by ownership. A copy is the same parameter and has the same identity;
/// equal values made twice are two. Layers that share one agree in its shape and in groups.
class Parameter {
 public:
  /// No values, as the bias of a layer without one.
  Parameter() = default;
  explicit Parameter(std::vector<float> values)
      : Parameter(std::make_shared<const std::vector<float>>(std::move(values))) {}
  /// Values that `owner` keeps.
  Parameter(std::span<const float> values, std::shared_ptr<const void> owner)
      : values_(values), owner_(std::move(owner)), id_(values.empty() ? 0 : next_id()) {}

  /// Never used twice in a process; 0 without values.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] std::weak_ptr<const void> owner() const { return owner_; }

  [[nodiscard]] std::span<const float> values() const { return values_; }
  operator std::span<const float>() const { return values_; }  // NOLINT: as of containers
  [[nodiscard]] const float* data() const { return values_.data(); }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  [[nodiscard]] std::size_t size_bytes() const { return values_.size_bytes(); }
  [[nodiscard]] bool empty() const { return values_.empty(); }
  [[nodiscard]] const float& operator[](std::size_t i) const { return values_[i]; }
  [[nodiscard]] auto begin() const { return values_.begin(); }
  [[nodiscard]] auto end() const { return values_.end(); }

 private:
  explicit Parameter(const std::shared_ptr<const std::vector<float>>& owner)
      : Parameter(std::span<const float>(*owner), owner) {}

  static std::uint64_t next_id() {
    static std::atomic<std::uint64_t> last = 0;
    return ++last;
  }

  std::span<const float> values_;
  std::shared_ptr<const void> owner_;
  std::uint64_t id_ = 0;
};

/// What an engine makes of parameters, once each. It lasts as long as the parameter: an operation that uses
/// it holds the parameter too. `Detail` tells apart what is made of the same parameter.
template <typename Made, typename Detail = std::tuple<>>
class MadeOfParameters {
 public:
  /// What make() gave for this parameter and detail.
  template <typename Make>
  Made& get(const Parameter& parameter, const Detail& detail, const Make& make) {
    const Key key{parameter.id(), detail};
    const auto found = made_.find(key);
    if (found != made_.end()) return found->second.made;
    forget_the_gone();
    return made_.emplace(key, Entry{parameter.owner(), make()}).first->second.made;
  }
  template <typename Make>
  Made& get(const Parameter& parameter, const Make& make) {
    return get(parameter, Detail{}, make);
  }
  [[nodiscard]] bool contains(const Parameter& parameter, const Detail& detail) const {
    return made_.contains({parameter.id(), detail});
  }
  [[nodiscard]] std::size_t size() const { return made_.size(); }

 private:
  using Key = std::pair<std::uint64_t, Detail>;
  struct Entry {
    std::weak_ptr<const void> owner;
    Made made;
  };

  void forget_the_gone() {
    std::erase_if(made_,
                  [](const auto& entry) { return entry.first.first != 0 && entry.second.owner.expired(); });
  }

  std::map<Key, Entry> made_;
};

}  // namespace halotile
