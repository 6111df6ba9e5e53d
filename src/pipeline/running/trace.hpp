// One run as a trace file that chrome://tracing and ui.perfetto.dev open: a track for every stream, host
// ranges and calls on tracks of their own, slices of one track never overlapping.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/devices/cuda/cuda_trace.hpp"
#include "kernels/devices/device.hpp"
#include "kernels/devices/trace_range.hpp"

namespace halotile {

/// Calls `run` and writes what happened meanwhile to `file`, whole or not at all. On a CUDA device: kernels,
/// copies, memsets, synchronizations, calls and ranges; on the host's own streams: a slice for each tile.
/// `run` must leave the device idle. Throws UnsupportedError before `run` where a CUDA device cannot be
/// traced, FormatError when the file cannot be written, and what `run` throws.
void write_trace(const std::filesystem::path& file, const Device& device, const std::function<void()>& run);

/// The same from what was recorded. `work` empty: the ranges are the streams' work.
[[nodiscard]] std::string trace_json(const std::string& device, std::span<const HostRange> ranges,
                                     std::span<const TraceSlice> work);

}  // namespace halotile
