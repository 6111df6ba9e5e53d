// Builds with CUDA and without cuDNN's headers.
#include "kernels/engines/cuda/cudnn/cudnn_engine.hpp"
#include "patching/error.hpp"

namespace halotile {

CudnnState cudnn_state() {
  return {{},
          "this build has no cudnn engine: cudnn_graph.h of cuDNN 9 was not found; set engine: direct or "
          "tensor_core, or build with -DHALOTILE_CUDNN_INCLUDE=FOLDER naming the headers' folder"};
}

std::unique_ptr<Engine> make_cudnn_engine(int, Precision) {
  throw UnsupportedError("engine: cudnn: " + cudnn_state().obstacle);
}

}  // namespace halotile
