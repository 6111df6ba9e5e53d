// What the operations of oneDNN's primitives share.
#pragma once

#include <cstddef>
#include <dnnl.hpp>

#include "kernels/engines/rounding.hpp"

namespace halotile::onednn {

inline void set_data(dnnl::memory& m, const void* data) {
  // oneDNN takes sources, too, as non-const pointers; it does not write through them.
  m.set_data_handle(const_cast<void*>(data));
}

/// Bytes of a piece of scratch memory, rounded up so that what follows is aligned.
[[nodiscard]] inline std::size_t aligned(std::size_t bytes) { return round_up(bytes, 64); }

}  // namespace halotile::onednn
