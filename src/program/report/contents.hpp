// What a report is made of: all that a store holds, and its points sorted for pictures.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "sweeping/explain.hpp"
#include "sweeping/record.hpp"

namespace halotile {

struct StoreContents {
  std::vector<PointRecord> points;
  std::vector<MachineRecord> machines;
  std::vector<SweepRecord> sweeps;
  std::vector<DriftSample> drift;
  std::vector<Ceiling> ceilings;
};

/// One thing that the store's points differ in.
struct ChartAxis {
  std::string key;                  ///< the config's: "patch.size" stands for patch.grid too
  std::string label;                ///< for people: "patch"
  std::vector<std::string> values;  ///< numbers in their order, then words; "whole" last
};

struct Axes {
  std::vector<ChartAxis> all;                    ///< patch and streams are the last two, and always there
  std::vector<std::vector<std::size_t>> places;  ///< of each point: its value's place on each axis
};

/// Looks at configs alone, so that a point that could not be run has its place too.
[[nodiscard]] Axes make_axes(const StoreContents& contents);

/// Points that may be compared: one machine, one experiment, different patches, streams and dispatch.
struct Group {
  std::vector<std::size_t> points;     ///< places in StoreContents::points
  const PointRecord* whole = nullptr;  ///< the unpatched point, of StoreContents::points
  const Ceiling* ceiling = nullptr;    ///< the machine's, of StoreContents::ceilings
};

/// "patches of 64 pixels, 2 streams, stages fused": what tells the point from the others of its group.
[[nodiscard]] std::string setting_name(const Axes& axes, const Group& group, std::size_t point);

/// "batch 8, precision bf16": what tells the group from the others; empty when there is no other.
[[nodiscard]] std::string group_name(const Axes& axes, const Group& group);

/// The largest group first.
[[nodiscard]] std::vector<Group> make_groups(const StoreContents& contents);

}  // namespace halotile
