// Why a setting is fast or slow, said from what was measured.
#pragma once

#include <string>
#include <vector>

#include "sweeping/record.hpp"

namespace halotile {

/// One thing the measurement shows.
struct Finding {
  std::string topic;  ///< halos, layers, overlap, streams, launches, bandwidth, arithmetic, copies, packing,
                      ///< allocation, memory, disturbance
  std::string text;   ///< one or two plain sentences with the numbers
  double cost = 0;    ///< share of the run's time that it explains, [0, 1]; 0 when it costs nothing
};

/// What the point takes, and how that compares with `whole`, in one sentence. Both must be timed.
[[nodiscard]] std::string summarize(const PointRecord& point, const PointRecord* whole);

/// The findings on one point, the costliest first. `whole` is the unpatched point of the same experiment,
/// `ceiling` the machine's limits; without them what needs them is left out. Of a point without times there
/// is nothing to find. Costs are shares of all streams' time and may overlap: recomputed halos are part of
/// the arithmetic. A disturbance's is how far the quartiles are apart, as a share of the median.
[[nodiscard]] std::vector<Finding> explain(const PointRecord& point, const PointRecord* whole,
                                           const Ceiling* ceiling);

/// The unpatched, one-stream point that `point` is compared with: of the same machine's points the one whose
/// config differs in patch, streams, sub_batch and dispatch alone; null when there is none, or no times of
/// it.
[[nodiscard]] const PointRecord* unpatched(const PointRecord& point, const std::vector<PointRecord>& points);

/// The ceiling of the point's machine, device and precision; null when it was not measured.
[[nodiscard]] const Ceiling* ceiling_of(const PointRecord& point, const std::vector<Ceiling>& ceilings);

}  // namespace halotile
