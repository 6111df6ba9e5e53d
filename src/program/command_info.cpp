#include "program/command_info.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/engines/registry/registry.hpp"
#include "pipeline/experiment/config_keys.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/experiment/text.hpp"
#include "program/kernel_table.hpp"

namespace halotile {
namespace {

std::vector<std::string_view> precision_words(const EngineEntry& engine) {
  std::vector<std::string_view> words;
  for (const Precision precision : engine.precisions) words.push_back(word(precision));
  return words;
}

nlohmann::json engine_json(const EngineEntry& engine) {
  return {{"engine", engine.name()},
          {"device", word(engine.device)},
          {"precisions", precision_words(engine)},
          {"bits_promised", engine.promises_bits},
          {"bits", engine.bits},
          {"missing", engine.missing()}};
}

std::string engines_text() {
  std::vector<std::vector<std::string>> rows{
      {"engine", "device", "precisions", "equal bits", "in this build"}};
  for (const EngineEntry& engine : all_engines()) {
    rows.push_back({std::string(engine.name()), std::string(word(engine.device)),
                    fmt::format("{}", fmt::join(precision_words(engine), " ")),
                    engine.promises_bits ? "promised" : "measured", engine.missing().empty() ? "yes" : "no"});
  }
  std::string text =
      "engines (engine: auto takes the first of the device that has the precision)\n" + table(rows).text;
  for (const EngineEntry& engine : all_engines()) text += bits_statement(engine) + "\n";
  return text;
}

}  // namespace

void CommandInfo::set_up(Options& options) {
  add_json(options);
  options.flag("--kernels", kernels_,
               "Tell registers, shared, constant and local memory of the CUDA kernels");
  options.flag("--config-keys", config_keys_,
               "Tell the keys of experiments instead, as docs/config.md has them");
}

int CommandInfo::run() {
  if (config_keys_) {
    print_text("{}",
               Verbatim{as_json() ? json_text({{"config_keys", config::key_list()}}) : config::key_table()});
    return exit_fine;
  }
  nlohmann::json json = machine_json();
  json["engines"] = nlohmann::json::array();
  json["engine_table"] = nlohmann::json::array();
  for (const EngineEntry& engine : all_engines()) {
    json["engine_table"].push_back(engine_json(engine));
    if (engine.missing().empty()) json["engines"].push_back(engine.name());
  }
  const CudnnState cudnn = cudnn_state();
  json["cudnn"] = cudnn.obstacle.empty() ? nlohmann::json(cudnn.version) : nlohmann::json();
  json["cudnn_obstacle"] = cudnn.obstacle;
#ifdef HALOTILE_HAS_CAIRO
  json["pictures"] = true;
#else
  json["pictures"] = false;
#endif
  const std::vector<KernelResources> kernels = kernels_ ? known_kernels() : std::vector<KernelResources>{};
  if (kernels_) json["kernels"] = kernels_json(kernels);
  if (as_json()) {
    print_json(json);
    return exit_fine;
  }
  print_text("halotile {} (git {}{}), {}, {} build\n", build_info.version, build_info.git_commit,
             build_info.git_dirty ? ", with local changes" : "", build_info.compiler, build_info.build_type);
  print_text("CPU      {}, {} cores, bf16 {}\n", cpu_name(), available_cores(),
             cpu_has_bf16() ? "in hardware" : "not available");
  print_text("oneDNN   {}\n", onednn_version());
  const std::vector<GpuInfo> gpus = usable_gpus();
  for (const GpuInfo& gpu : gpus) {
    print_text(
        "{:<8} {}, compute capability {}, {} multiprocessors, {} of {} free, driver for CUDA {}, built with "
        "{}\n",
        gpu.device, gpu.name, gpu.capability, gpu.multiprocessors, bytes_text(gpu.free_memory),
        bytes_text(gpu.memory), gpu.driver, gpu.runtime);
  }
  if (gpus.empty()) {
    print_text("CUDA     {}\n", gpu_obstacle(0));
  } else {
    print_text(
        "         biases: 64 KiB of constant memory each for convolutions and fully connected layers; layers "
        "that do not fit read theirs from global memory (halotile run says how many)\n");
    print_text("cuDNN    {}\n", cudnn.obstacle.empty()
                                    ? cudnn.version + ", for engine: cudnn (never chosen by auto)"
                                    : cudnn.obstacle);
  }
  print_text("pictures {}\n",
             json["pictures"].get<bool>() ? "yes (halotile plan --image)" : "no, built without Cairo");
  print_text("\n{}", Verbatim{engines_text()});
  if (kernels_) print_text("\n{}", Verbatim{kernels_text(kernels)});
  return exit_fine;
}

}  // namespace halotile
