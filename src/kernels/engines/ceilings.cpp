#include "kernels/engines/ceilings.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <dnnl.hpp>
#include <functional>
#include <vector>

#include "kernels/devices/stop.hpp"
#include "kernels/engines/engine.hpp"
#include "kernels/engines/thread_count.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

using dnnl::memory;

// The clock drifts and neighbours work: the best of as many runs as fit.
double best_seconds(double budget, const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  work();
  double best = 1e300;
  const Clock::time_point begin = Clock::now();
  for (int runs = 0; runs < 3 || seconds(Clock::now() - begin) < budget; ++runs) {
    throw_if_stopped();
    const Clock::time_point start = Clock::now();
    work();
    best = std::min(best, seconds(Clock::now() - start));
  }
  return best;
}

void fill(memory& matrix, memory::data_type type) {
  auto* const data = static_cast<std::byte*>(matrix.get_data_handle());
  const std::size_t bytes = matrix.get_desc().get_size();
  if (type == memory::data_type::f32) {
    std::fill_n(reinterpret_cast<float*>(data), bytes / sizeof(float), 0.5F);
  } else {
    constexpr std::uint16_t half_as_bf16 = 0x3f00;
    std::fill_n(reinterpret_cast<std::uint16_t*>(data), bytes / 2, half_as_bf16);
  }
}

double matrix_rate(memory::data_type type, int threads) {
  constexpr memory::dim n = 1024;
  const ThreadCount count(threads);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc shape({n, n}, type, memory::format_tag::ab);
  const memory::desc any({n, n}, type, memory::format_tag::any);
  const dnnl::matmul::primitive_desc desc(dnnl::matmul::desc(shape, any, shape), engine);
  const dnnl::matmul product(desc);
  memory a(shape, engine);
  memory b(desc.weights_desc(), engine);
  memory c(shape, engine);
  fill(a, type);
  fill(b, type);
  const double seconds = best_seconds(0.3, [&] {
    product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
  });
  return 2.0 * n * n * n / seconds;
}

double copy_rate(int threads) {
  constexpr std::size_t smallest = std::size_t{64} << 20;
  constexpr std::size_t largest = std::size_t{512} << 20;
  const auto cache = static_cast<std::size_t>(std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE)));
  const std::size_t bytes = std::clamp(4 * cache, smallest, largest);
  const std::vector<std::byte> from(bytes);
  std::vector<std::byte> to(bytes);
  const double seconds = best_seconds(0.2, [&] {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
      const std::size_t begin = bytes / static_cast<std::size_t>(threads) * static_cast<std::size_t>(part);
      const std::size_t end = part + 1 == threads ? bytes : begin + bytes / static_cast<std::size_t>(threads);
      std::memcpy(to.data() + begin, from.data() + begin, end - begin);
    }
  });
  return 2.0 * static_cast<double>(bytes) / seconds;
}

}  // namespace

DeviceLimits measure_limits(const std::string& device, const std::string& precision, int threads) {
  if (device.starts_with("cuda:")) return measure_gpu_limits(std::stoi(device.substr(5)), precision);
  const bool bf16 = precision == "bf16";
  if ((!bf16 && precision != "fp32") || (bf16 && !cpu_has_bf16())) {
    throw UnsupportedError("the CPU's limits in " + precision +
                           " cannot be measured: it does not calculate in it; use fp32");
  }
  try {
    return {matrix_rate(bf16 ? memory::data_type::bf16 : memory::data_type::f32, threads), copy_rate(threads),
            0};
  } catch (const dnnl::error& error) {
    throw UnsupportedError(std::string("oneDNN cannot multiply matrices to measure the CPU's limits (") +
                           error.what() + ")");
  }
}

}  // namespace halotile
