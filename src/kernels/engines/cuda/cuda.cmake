# The CUDA side of halotile_kernels: included by src/kernels/CMakeLists.txt, from which paths count, when CUDA is on,
# that is after enable_language(CUDA).
find_package(CUDAToolkit REQUIRED)

# CMake 3.25 does not know how to ask nvcc for C++20: it would compile as C++17 without a word.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
endif()

target_sources(halotile_kernels PRIVATE
  devices/cuda/cuda_device.cpp
  engines/cuda/ceilings.cu
  engines/cuda/compare.cu
  engines/cuda/cuda_engine.cpp
  engines/registry/cuda_engines.cpp
  engines/cuda/direct/constant_space.cpp
  engines/cuda/direct/conv2d.cu
  engines/cuda/direct/conv2d_plan.cpp
  engines/cuda/direct/direct_engine.cpp
  engines/cuda/direct/fully_connected.cu
  engines/cuda/lrn.cu
  engines/cuda/lrn_pool.cu
  engines/cuda/normalize.cu
  engines/cuda/pack.cu
  engines/cuda/binary.cu
  engines/cuda/pointwise.cu
  engines/cuda/pool2d.cu
  engines/cuda/tensor_core/matrix_mma.cu
  engines/cuda/tensor_core/matrix_pack.cu
  engines/cuda/tensor_core/matrix_segments.cu
  engines/cuda/tensor_core/plain_conv2d.cu
  engines/cuda/tensor_core/tensor_core_engine.cpp
  engines/cuda/tile_ledger.cu)
target_link_libraries(halotile_kernels PUBLIC CUDA::cudart_static)
# Ranges for profilers, and traces. NVTX is headers alone; of CUPTI the header is enough, its library is opened when a
# trace is asked for.
target_link_libraries(halotile_kernels PRIVATE CUDA::nvtx3 ${CMAKE_DL_LIBS})
target_compile_definitions(halotile_kernels PRIVATE HALOTILE_HAS_CUDA HALOTILE_HAS_NVTX)
find_path(HALOTILE_CUPTI_INCLUDE cupti.h HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_ROOT}/extras/CUPTI/include)
if(HALOTILE_CUPTI_INCLUDE)
  target_include_directories(halotile_kernels SYSTEM PRIVATE ${HALOTILE_CUPTI_INCLUDE})
  target_compile_definitions(halotile_kernels PRIVATE HALOTILE_HAS_CUPTI)
endif()
# cuDNN likewise, when engine: cudnn is asked for. Its headers are those of cuDNN 9.
find_path(HALOTILE_CUDNN_INCLUDE cudnn_graph.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(HALOTILE_CUDNN_INCLUDE)
  target_sources(halotile_kernels PRIVATE
    engines/cuda/cudnn/cudnn_engine.cpp engines/cuda/cudnn/cudnn_library.cpp engines/cuda/cudnn/cudnn_plan.cpp)
  target_include_directories(halotile_kernels SYSTEM PRIVATE ${HALOTILE_CUDNN_INCLUDE})
else()
  target_sources(halotile_kernels PRIVATE engines/cuda/cudnn/cudnn_engine_absent.cpp)
endif()
set_target_properties(halotile_kernels PROPERTIES
  CUDA_STANDARD 20
  CUDA_STANDARD_REQUIRED ON
  CUDA_EXTENSIONS OFF)
# Machine code for Hopper; other cards from Ampere on compile the PTX when they first load it.
if(HALOTILE_CUDA_ARCHITECTURES)
  set_property(TARGET halotile_kernels PROPERTY CUDA_ARCHITECTURES ${HALOTILE_CUDA_ARCHITECTURES})
else()
  set_property(TARGET halotile_kernels PROPERTY CUDA_ARCHITECTURES 90a-real 80-virtual)
endif()
# Hopper's own instructions have no other card's PTX to fall back on: a library of its own, for sm_90a alone.
add_library(halotile_hopper OBJECT engines/cuda/ceilings_wgmma.cu engines/cuda/tensor_core/matrix_wgmma.cu)
target_link_libraries(halotile_hopper PRIVATE halotile_patching CUDA::cudart_static)
set_target_properties(halotile_hopper PROPERTIES
  CUDA_STANDARD 20
  CUDA_STANDARD_REQUIRED ON
  CUDA_EXTENSIONS OFF
  CUDA_ARCHITECTURES 90a-real)
target_sources(halotile_kernels PRIVATE $<TARGET_OBJECTS:halotile_hopper>)
# Kernels fuse a multiplication and an addition only where they say so, divide and take roots correctly
# rounded, and keep subnormal numbers: the bits of the CPU's `reference` engine.
foreach(target halotile_kernels halotile_hopper)
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-prec-div=true;-prec-sqrt=true;-ftz=false;-Werror=all-warnings>"
    "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Werror,-ffp-contract=off>")
endforeach()
