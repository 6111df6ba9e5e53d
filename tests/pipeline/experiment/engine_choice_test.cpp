// Which engine an experiment gets: the same for plans, which need no GPU, and for runs.
#include "pipeline/experiment/engine_choice.hpp"

#include <gtest/gtest.h>

#include "patching/error.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

Experiment experiment(const std::string& device, const std::string& engine, const std::string& precision) {
  Experiment e;
  e.device = device_choice(device).value();
  e.engine = choice_of<EngineKind>(engine);
  e.precision = choice_of<Precision>(precision).value();
  return e;
}

EngineKind selected(const std::string& device, const std::string& engine, const std::string& precision) {
  return select_engine(experiment(device, engine, precision)).entry->kind;
}

std::string refusal(const std::string& device, const std::string& engine, const std::string& precision) {
  return support::message_of<UnsupportedError>({}, [&] { (void)selected(device, engine, precision); });
}

TEST(EngineChoice, IsKnownWithoutTheDevice) {
  EXPECT_EQ(selected("cuda", "auto", "fp32"), EngineKind::direct);
  EXPECT_EQ(selected("cuda:3", "auto", "bf16"), EngineKind::tensor_core);
  EXPECT_EQ(select_engine(experiment("cuda:3", "auto", "bf16")).gpu, 3);
  EXPECT_EQ(selected("cuda", "tensor_core", "fp32"), EngineKind::tensor_core);
  EXPECT_EQ(selected("auto", "cudnn", "fp16"), EngineKind::cudnn);
  EXPECT_EQ(selected("cpu", "auto", "bf16"), EngineKind::onednn);
  EXPECT_EQ(selected("auto", "reference", "fp32"), EngineKind::reference);
}

TEST(EngineChoice, PlansFuseWhereRunsDo) {
  EXPECT_TRUE(select_engine(experiment("cuda", "auto", "bf16")).entry->supports(LrnMaxPool{}));
  EXPECT_FALSE(select_engine(experiment("cuda", "auto", "fp32")).entry->supports(LrnMaxPool{}));
  const Experiment on_cpu = experiment("cpu", "auto", "fp32");
  EXPECT_EQ(select_engine(on_cpu).entry->supports(LrnMaxPool{}),
            choose_engine(on_cpu, 1).engine->supports(LrnMaxPool{}));
}

TEST(EngineChoice, RefusesWhatCannotBe) {
  EXPECT_EQ(refusal("cpu", "direct", "fp32"),
            "engine: direct: runs on CUDA GPUs, but device is cpu; set device: auto or cuda");
  EXPECT_EQ(refusal("cuda:1", "onednn", "fp32"),
            "engine: onednn: runs on the CPU, but device is cuda:1; use engine: direct or tensor_core, or "
            "device: cpu");
  EXPECT_EQ(refusal("cpu", "auto", "fp16"), "precision: fp16: engine onednn has fp32 and bf16");
  EXPECT_EQ(refusal("cpu", "reference", "bf16"), "precision: bf16: engine reference computes in fp32 only");
  EXPECT_EQ(refusal("cuda", "direct", "tf32"), "precision: tf32: engine direct computes in fp32 only");
}

TEST(EngineChoice, AutoTakesTheCpuWhereThereIsNoGpu) {
  const Experiment any = experiment("auto", "auto", "fp32");
  const EngineSelection selection = select_engine(any);
  EXPECT_EQ(selection.entry->device == DeviceKind::cpu, !gpu_obstacle(0).empty());
  EXPECT_EQ(selection.note.empty(), gpu_obstacle(0).empty());
  EXPECT_EQ(choose_engine(any, 1).engine->name(), selection.entry->name());
}

}  // namespace
}  // namespace halotile
