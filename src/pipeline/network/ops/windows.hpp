// What convolutions and pools share in model files.
#pragma once

#include "pipeline/network/op_table.hpp"

namespace halotile {

/// kernel, stride, padding; dilation and ceil_mode where a layer has them. `stride`: where none is given, the
/// kernel's if null.
struct WindowKeys {
  const Extent2* stride = nullptr;
  bool dilation = false;
  bool ceil_mode = false;
};
[[nodiscard]] Window read_window(YamlMap& map, const WindowKeys& keys);

}  // namespace halotile
