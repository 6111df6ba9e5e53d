#include "sweeping/point.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <nlohmann/json.hpp>

#include "patching/error.hpp"
#include "pipeline/experiment/batch_measurement.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/measuring/peak_memory.hpp"
#include "pipeline/running/trace.hpp"

namespace halotile {
namespace {

void describe(const Session& session, PointRecord& point) {
  point.network = session.network().name;
  point.engine = session.engine().name();
  point.device = session.engine().device().name();
  point.images = session.batch() / session.input().views();
  point.weights_hash = fmt::format("{:016x}", session.weights().hash());
}

std::string difference(const Verification& v) {
  for (const Comparison& c : v.stages) {
    if (!c.equal_bits())
      return fmt::format("{} of {} elements of {} differ from the unpatched run's", c.different, c.elements,
                         c.layer);
  }
  return fmt::format("{} of {} logits differ from the unpatched run's", v.logits.different,
                     v.logits.elements);
}

void verify_and_measure(const Experiment& experiment, const Verifier& verifier, PointRecord& point) {
  const Session session(experiment);
  describe(session, point);
  const Verification verification = verifier(session);
  point.verified_elements = verification.elements();
  point.different_elements = verification.different();
  point.logits_hash = verification.logits_hash;
  if (!verification.equal_bits()) {
    point.status = PointStatus::different;
    point.message = difference(verification);
    return;
  }
  reset_peak_memory();  // of the verification, which holds both pipelines
  const std::unique_ptr<Executor> executor = first_batch(session);
  BatchMeasurement measured = measure_batch(session, *executor);
  point.peak_memory_bytes = static_cast<std::int64_t>(peak_memory());
  point.timing = std::move(measured.timing);
  point.layers = std::move(measured.layers);
  point.stages = std::move(measured.stages);
  point.stream_busy_share = std::move(measured.stream_busy_share);
  point.host_idle_ms = measured.host_idle_ms;
  point.halo_flops_share = measured.halo_flops_share;
  point.map_bytes = static_cast<std::int64_t>(measured.memory.maps);
  point.scratch_bytes = static_cast<std::int64_t>(measured.memory.scratch);
  point.disturbances = std::move(measured.disturbances);
}

}  // namespace

void trace_batch(const Experiment& experiment, const std::filesystem::path& file) {
  const Session session(experiment);
  const std::unique_ptr<Executor> executor = first_batch(session);
  for (int i = 0; i < experiment.measure.warmup; ++i) executor->run();
  write_trace(file, session.engine().device(), [&] { executor->run(); });
}

PointRecord measure_point(const Experiment& experiment, const Verifier& verifier) {
  PointRecord point;
  point.started = utc_now();
  point.config = to_json(experiment);
  const auto start = std::chrono::steady_clock::now();
  try {
    verify_and_measure(experiment, verifier, point);
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    point.status = PointStatus::error;
    point.message = e.what();
  } catch (const std::bad_alloc&) {
    point.status = PointStatus::error;
    point.message = "out of memory; use a smaller batch or input";
  }
  point.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return point;
}

}  // namespace halotile
