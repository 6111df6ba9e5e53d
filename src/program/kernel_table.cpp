#include "program/kernel_table.hpp"

#include "patching/error.hpp"
#include "pipeline/experiment/text.hpp"

namespace halotile {

std::vector<KernelResources> known_kernels() {
  std::vector<KernelResources> kernels = kernel_resources();
  if (kernels.empty()) {
    throw UnsupportedError("info --kernels: this build has no CUDA kernels; build where nvcc is on the PATH");
  }
  return kernels;
}

nlohmann::json kernels_json(const std::vector<KernelResources>& kernels) {
  nlohmann::json json = nlohmann::json::array();
  for (const KernelResources& k : kernels) {
    json.push_back({{"family", k.family},
                    {"name", k.name},
                    {"threads", k.threads},
                    {"max_threads", k.max_threads},
                    {"registers", k.registers},
                    {"static_shared_bytes", k.static_shared},
                    {"dynamic_shared_bytes", k.dynamic_shared},
                    {"constant_bytes", k.constant},
                    {"local_bytes", k.local},
                    {"blocks_per_multiprocessor", k.blocks_per_multiprocessor}});
  }
  return json;
}

std::string kernels_text(const std::vector<KernelResources>& kernels) {
  std::vector<std::vector<std::string>> rows{{"family", "kernel", "threads", "registers", "static shared",
                                              "dynamic shared", "constant", "local", "blocks resident"}};
  for (const KernelResources& k : kernels) {
    rows.push_back({k.family, k.name, std::to_string(k.threads), std::to_string(k.registers),
                    std::to_string(k.static_shared), std::to_string(k.dynamic_shared),
                    std::to_string(k.constant), std::to_string(k.local),
                    std::to_string(k.blocks_per_multiprocessor)});
  }
  return table(rows).text +
         "(bytes; registers and local per thread, shared per block, constant per module; patch kernels add "
         "their input patch to the dynamic shared memory)\n";
}

}  // namespace halotile
