// Networks with weights, run in any way the executor knows, and their outputs side by side.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "pipeline/experiment/verify.hpp"
#include "pipeline/network/stages.hpp"
#include "pipeline/network/weights.hpp"
#include "pipeline/running/executor.hpp"
#include "pipeline/support.hpp"

namespace halotile::support {

/// A network with its weights bound. Stays where it is: engines and executors refer to it.
class Model {
 public:
  explicit Model(const std::string& model_text, std::uint64_t seed = 11);
  explicit Model(Network network, std::uint64_t seed = 11);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] const Network& network() const { return network_; }
  /// Every layer's number.
  [[nodiscard]] std::set<std::size_t> all_layers() const;
  /// Terms in the longest sum of a convolution.
  [[nodiscard]] std::int64_t longest_sum() const;

 private:
  Network network_;
  Weights weights_;
};

/// One way to run a network.
struct Way {
  PatchSpec patch;
  NodeGroups stages;  ///< before they are split behind kept layers
  ExecutorSettings settings;
};

[[nodiscard]] std::string to_string(const Way& way);

/// The unpatched pipeline: whole maps, a convolution a stage, one stream.
[[nodiscard]] Way whole_way(const Network& network, std::int64_t batch, const std::set<std::size_t>& keep);
/// Patches, stages, streams, storage and sub-batch at random.
[[nodiscard]] Way random_way(Draw& draw, const Network& network, std::int64_t batch,
                             const std::set<std::size_t>& keep, int max_streams = 8);

[[nodiscard]] std::unique_ptr<Executor> make_executor(const Model& model, Engine& engine, const Way& way);

/// Fills the input with the sequence "input" of `seed`; every image and element differs.
void fill_input(const Executor& executor, std::uint64_t seed);

/// Every kept layer of `a` against the same layer of `b`, and the last one.
[[nodiscard]] std::vector<Comparison> compare_kept(const Network& network, const Executor& a,
                                                   const Executor& b, const std::set<std::size_t>& keep);
[[nodiscard]] bool all_equal(const std::vector<Comparison>& comparisons);
/// The first that differ, for people.
[[nodiscard]] std::string differences(const std::vector<Comparison>& comparisons);

/// Wraps an engine: `before` is called with the operation's name and the number of the call before every
/// operation, and decides whether the operation is run.
class HookedEngine final : public Engine {
 public:
  using Hook = std::function<bool(std::string_view kind, std::size_t call, const MapView& out)>;
  HookedEngine(std::unique_ptr<Engine> inner, Hook hook);
  ~HookedEngine() override;

  [[nodiscard]] std::string_view name() const override { return inner_->name(); }
  [[nodiscard]] DType map_type() const override { return inner_->map_type(); }
  [[nodiscard]] Device& device() override { return inner_->device(); }
  [[nodiscard]] std::string obstacle(const Op& op) const override { return inner_->obstacle(op); }

 private:
  class Hooked;
  [[nodiscard]] std::unique_ptr<Operation> make(const Op& op, std::span<const MapGeometry> in,
                                                const MapGeometry& out) override;

  std::unique_ptr<Engine> inner_;
  Hook hook_;
  std::atomic<std::size_t> calls_ = 0;
};

}  // namespace halotile::support
