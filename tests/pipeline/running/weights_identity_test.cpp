// Networks that come and go on one engine: the next one's weights may lie where the last one's were.
#include <gtest/gtest.h>

#include <set>

#include "kernels/engines/registry/registry.hpp"
#include "pipeline/running/executor_support.hpp"
#include "rounds.hpp"

namespace halotile {
namespace {

using support::compare_kept;
using support::Model;

// Convolutions by each of the CPU's kernels.
const char* const model_text =
    "input: {channels: 3, height: 20, width: 20}\nlayers:\n"
    "  - {type: conv, name: first, out_channels: 64, kernel: 5, stride: 2, padding: 2}\n"
    "  - {type: conv, name: winograd, out_channels: 64, kernel: 3, padding: 1}\n"
    "  - {type: conv, name: grouped, out_channels: 64, kernel: 3, groups: 64}\n"
    "  - {type: fully_connected, name: fc, out_features: 10}\n";

TEST(WeightsIdentity, NetworksMadeAndDroppedOnOneEngineKeepTheirOwnWeights) {
  constexpr int networks = rounds(12, 4);
  for (const EngineEntry& entry : all_engines()) {
    if (entry.device != DeviceKind::cpu) continue;
    for (const Precision precision : entry.precisions) {
      if (precision == Precision::bf16 && !cpu_has_bf16()) continue;
      EngineOptions options;
      options.precision = precision;
      const auto engine = entry.make(options);
      std::set<const float*> seen;
      int reused = 0;
      for (std::uint64_t seed = 1; seed <= networks; ++seed) {
        const Model model(model_text, seed);
        reused += seen.insert(model.network().nodes[1].as<Conv2d>()->weight.data()).second ? 0 : 1;
        const std::set<std::size_t> keep = model.all_layers();
        const support::Way way = support::whole_way(model.network(), 2, keep);
        const auto executor = make_executor(model, *engine, way);
        const auto alone = entry.make(options);
        const auto expected = make_executor(model, *alone, way);
        for (const Executor* const e : {executor.get(), expected.get()}) support::fill_input(*e, 5);
        executor->run();
        expected->run();
        const auto compared = compare_kept(model.network(), *expected, *executor, keep);
        ASSERT_TRUE(support::all_equal(compared))
            << entry.name() << ", " << word(precision) << ", network " << seed << "\n"
            << support::differences(compared);
      }
      RecordProperty(std::string(entry.name()) + "_addresses_reused", reused);
    }
  }
}

}  // namespace
}  // namespace halotile
