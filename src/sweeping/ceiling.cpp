#include "sweeping/ceiling.hpp"

#include "kernels/engines/ceilings.hpp"

namespace halotile {

Ceiling measure_ceiling(const Session& session) {
  const std::string device = session.engine().device().name();
  const std::string precision(word(session.experiment().precision));
  const DeviceLimits limits = measure_limits(device, precision, available_cores());
  return {
      0, device, precision, limits.flops_per_second, limits.bytes_per_second, limits.copy_bytes_per_second};
}

}  // namespace halotile
