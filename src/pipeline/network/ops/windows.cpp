#include "pipeline/network/ops/windows.hpp"

namespace halotile {

Window read_window(YamlMap& map, const WindowKeys& keys) {
  Window w;
  if (const auto kernel = map.require("kernel", "kernel: 3"))
    w.kernel = kernel->extent(1, largest_size).value_or(Extent2{1, 1});
  w.stride = map.extent("stride", keys.stride != nullptr ? *keys.stride : w.kernel, 1, largest_size);
  w.padding = map.extent("padding", {0, 0}, 0, largest_size);
  if (keys.dilation) w.dilation = map.extent("dilation", {1, 1}, 1, largest_size);
  if (keys.ceil_mode) w.ceil_mode = map.boolean("ceil_mode", false);
  return w;
}

}  // namespace halotile
