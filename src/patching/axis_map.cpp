#include "patching/axis_map.hpp"

#include <string>

#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::int64_t most_coordinate = std::int64_t{1} << 62;

void require(bool holds, const std::string& what) {
  if (!holds) throw ShapeError(what);
}

std::string number(std::int64_t n) { return std::to_string(n); }

// A sum of products that stays clear of the end of 64 bits.
std::int64_t checked_sum(std::int64_t a, std::int64_t b, const char* what) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum) || sum > most_coordinate || sum < -most_coordinate) {
    throw ShapeError(std::string(what) + " overflows: " + number(a) + " + " + number(b) +
                     " does not fit in 62 bits; use smaller sizes");
  }
  return sum;
}

// ---- number of outputs -----------------------------------------------------------------------------------

std::int64_t outputs_of(const AxisWindow& w, std::int64_t input) { return output_size(w, input); }

std::int64_t outputs_of(const AxisTransposed& t, std::int64_t input) {
  require(t.kernel > 0 && t.stride > 0 && t.dilation > 0,
          "kernel, stride and dilation must be at least 1 (they are " + number(t.kernel) + ", " +
              number(t.stride) + ", " + number(t.dilation) + ")");
  require(t.padding.begin >= 0 && t.padding.end >= 0 && t.output_padding >= 0,
          "padding and output padding of a transposed convolution must not be negative");
  const char* const what = "a transposed convolution's output";
  std::int64_t size = checked_multiply(input - 1, t.stride, what);
  size = checked_sum(size, checked_multiply(t.dilation, t.kernel - 1, what), what);
  size = checked_sum(size, checked_sum(t.output_padding, 1, what), what);
  size = checked_sum(size, -checked_sum(t.padding.begin, t.padding.end, what), what);
  require(size > 0, "a transposed convolution of " + number(input) + " positions with padding " +
                        number(t.padding.begin) + " and " + number(t.padding.end) +
                        " leaves no outputs; use less padding");
  return size;
}

std::int64_t outputs_of(const AxisResize& r, std::int64_t input) {
  (void)resize_line(r, input);
  return r.outputs;
}

std::int64_t outputs_of(const AxisShuffle& s, std::int64_t input) {
  require(s.factor > 0, "a pixel shuffle's factor must be at least 1 (it is " + number(s.factor) + ")");
  return checked_multiply(input, s.factor, "a pixel shuffle's output");
}

std::int64_t outputs_of(const AxisUnshuffle& s, std::int64_t input) {
  require(s.factor > 0, "a pixel unshuffle's factor must be at least 1 (it is " + number(s.factor) + ")");
  require(input % s.factor == 0, "a pixel unshuffle by " + number(s.factor) +
                                     " does not divide its input of " + number(input) +
                                     " positions; pad the input first");
  return input / s.factor;
}

std::int64_t outputs_of(const AxisPad& p, std::int64_t input) {
  const char* const what = "a padded map";
  const std::int64_t size = checked_sum(checked_sum(input, p.begin, what), p.end, what);
  require(size > 0, "padding of " + number(p.begin) + " and " + number(p.end) + " leaves nothing of " +
                        number(input) + " positions; crop less");
  require(p.kind != PadKind::reflect || std::max(p.begin, p.end) < input,
          "reflection of " + number(std::max(p.begin, p.end)) +
              " positions needs a map of one more (it has " + number(input) + "); pad less");
  require(p.kind != PadKind::reflect || std::min(p.begin, p.end) > -input,
          "reflection after a crop of " + number(-std::min(p.begin, p.end)) + " positions has nothing of " +
              number(input) + " to show; crop less");
  return size;
}

std::int64_t outputs_of(const AxisSlice& s, std::int64_t input) {
  require(s.step > 0 && s.outputs > 0, "a slice's step and outputs must be at least 1 (they are " +
                                           number(s.step) + " and " + number(s.outputs) + ")");
  const std::int64_t last =
      checked_sum(s.offset, checked_multiply(s.step, s.outputs - 1, "a slice's end"), "a slice's end");
  require(s.offset >= 0 && last < input, "a slice from " + number(s.offset) + " to " + number(last) +
                                             " leaves its map of " + number(input) + " positions");
  return s.outputs;
}

std::int64_t outputs_of(const AxisGlobal& g, std::int64_t /*input*/) {
  require(g.outputs > 0, "a map must have outputs (it has " + number(g.outputs) + ")");
  return g.outputs;
}

// ---- unclipped reach -------------------------------------------------------------------------------------

Interval reach_of(const AxisWindow& w, std::int64_t input, Interval out) { return reach(w, input, out); }

// The inputs whose tap k lies in `out`.
Interval tap_inputs(const AxisTransposed& t, std::int64_t k, Interval out) {
  const std::int64_t shift = t.padding.begin - k * t.dilation;
  return {ceil_div(out.begin + shift, t.stride), floor_div(out.end - 1 + shift, t.stride) + 1};
}

Interval reach_of(const AxisTransposed& t, std::int64_t /*input*/, Interval out) {
  Interval all;
  for (std::int64_t k = 0; k < t.kernel; ++k) all = hull(all, tap_inputs(t, k, out));
  return all;
}

// Sources ascend with outputs.
Interval reach_of(const AxisResize& r, std::int64_t input, Interval out) {
  const ResizeLine line = resize_line(r, input);
  return {resize_source(r, line, input, out.begin).first,
          resize_source(r, line, input, out.end - 1).second + 1};
}

Interval reach_of(const AxisShuffle& s, std::int64_t /*input*/, Interval out) {
  return {floor_div(out.begin, s.factor), floor_div(out.end - 1, s.factor) + 1};
}

Interval reach_of(const AxisUnshuffle& s, std::int64_t /*input*/, Interval out) {
  return {out.begin * s.factor, out.end * s.factor};
}

// The mirrored positions of an interval; `mirror` is twice the mirror's position.
Interval mirrored(Interval i, std::int64_t mirror) {
  return i.empty() ? Interval{} : Interval{mirror - i.end + 1, mirror - i.begin + 1};
}

Interval reach_of(const AxisPad& p, std::int64_t input, Interval out) {
  const Interval shifted{out.begin - p.begin, out.end - p.begin};
  switch (p.kind) {
    case PadKind::constant:
      break;
    case PadKind::edge: {
      const auto nearest = [&](std::int64_t x) { return std::clamp<std::int64_t>(x, 0, input - 1); };
      return {nearest(shifted.begin), nearest(shifted.end - 1) + 1};
    }
    case PadKind::reflect: {
      const Interval before = intersect(shifted, {std::min<std::int64_t>(shifted.begin, 0), 0});
      const Interval behind = intersect(shifted, {input, std::max(shifted.end, input)});
      return hull(intersect(shifted, {0, input}),
                  hull(mirrored(before, 0), mirrored(behind, 2 * (input - 1))));
    }
  }
  return shifted;
}

Interval reach_of(const AxisSlice& s, std::int64_t /*input*/, Interval out) {
  return {s.offset + out.begin * s.step, s.offset + (out.end - 1) * s.step + 1};
}

Interval reach_of(const AxisGlobal& /*global*/, std::int64_t input, Interval /*out*/) { return {0, input}; }

// ---- exact positions -------------------------------------------------------------------------------------

// Whether neighbouring outputs read everything between their first and last input.
bool without_gaps(const AxisWindow& w, std::int64_t /*input*/) {
  return w.adaptive_output > 0 || (w.dilation == 1 && w.stride <= w.kernel);
}
bool without_gaps(const AxisTransposed& /*map*/, std::int64_t /*input*/) { return false; }
bool without_gaps(const AxisResize& r, std::int64_t input) {
  const ResizeLine line = resize_line(r, input);
  return line.scale <= line.unit;
}
bool without_gaps(const AxisShuffle& /*map*/, std::int64_t /*input*/) { return true; }
bool without_gaps(const AxisUnshuffle& /*map*/, std::int64_t /*input*/) { return true; }
// A reflection's positions lie inside of the map's end: what it reads begins or ends there.
bool without_gaps(const AxisPad& /*map*/, std::int64_t /*input*/) { return true; }
bool without_gaps(const AxisSlice& s, std::int64_t /*input*/) { return s.step == 1; }
bool without_gaps(const AxisGlobal& /*map*/, std::int64_t /*input*/) { return true; }

// Whether add_with_gaps goes from output to output; else it takes a run in few intervals, however long it is.
template <typename Map>
bool by_output(const Map& /*map*/) {
  return true;
}
bool by_output(const AxisWindow& w) { return w.stride > 1; }
bool by_output(const AxisTransposed& /*map*/) { return false; }

void add(Runs& reads, Interval run, std::int64_t input) {
  const Interval inside = intersect(run, {0, input});
  if (!inside.empty()) reads.push_back(inside);
}

// A run of a map that steps over positions.
template <typename Map>
void add_with_gaps(Runs& reads, const Map& map, std::int64_t input, Interval run) {
  for (std::int64_t o = run.begin; o < run.end; ++o) add(reads, reach_of(map, input, {o, o + 1}), input);
}

void add_with_gaps(Runs& reads, const AxisWindow& w, std::int64_t input, Interval run) {
  for (std::int64_t k = 0; k < w.kernel; ++k) {
    const std::int64_t shift = k * w.dilation - w.padding.begin;
    if (w.stride == 1) {
      add(reads, {run.begin + shift, run.end + shift}, input);
      continue;
    }
    for (std::int64_t o = run.begin; o < run.end; ++o) {
      add(reads, {o * w.stride + shift, o * w.stride + shift + 1}, input);
    }
  }
}

void add_with_gaps(Runs& reads, const AxisTransposed& t, std::int64_t input, Interval run) {
  for (std::int64_t k = 0; k < t.kernel; ++k) add(reads, tap_inputs(t, k, run), input);
}

void add_with_gaps(Runs& reads, const AxisResize& r, std::int64_t input, Interval run) {
  const ResizeLine line = resize_line(r, input);
  for (std::int64_t o = run.begin; o < run.end; ++o) {
    const ResizeSource source = resize_source(r, line, input, o);
    reads.push_back({source.first, source.second + 1});
  }
}

// ---- scale -----------------------------------------------------------------------------------------------

AxisScale by_sizes(std::int64_t input, std::int64_t outputs) {
  return {ratio(input, outputs), input != outputs};
}

AxisScale scale_from(const AxisWindow& w, std::int64_t input) {
  if (w.adaptive_output == 0) return {{w.stride, 1}};
  return {{std::max<std::int64_t>(1, input / w.adaptive_output), 1}, input != w.adaptive_output};
}
AxisScale scale_from(const AxisTransposed& t, std::int64_t /*input*/) { return {{1, t.stride}}; }
AxisScale scale_from(const AxisResize& r, std::int64_t input) {
  if (r.step && r.coordinates != ResizeCoordinates::align_corners) {
    return {ratio(r.step->numerator, r.step->denominator)};
  }
  return by_sizes(input, r.outputs);
}
AxisScale scale_from(const AxisShuffle& s, std::int64_t /*input*/) { return {{1, s.factor}}; }
AxisScale scale_from(const AxisUnshuffle& s, std::int64_t /*input*/) { return {{s.factor, 1}}; }
AxisScale scale_from(const AxisPad& /*map*/, std::int64_t /*input*/) { return {}; }
AxisScale scale_from(const AxisSlice& s, std::int64_t /*input*/) { return {{s.step, 1}}; }
AxisScale scale_from(const AxisGlobal& g, std::int64_t input) { return by_sizes(input, g.outputs); }

}  // namespace

std::int64_t output_size(const AxisMap& map, std::int64_t input) {
  require(input > 0, "a map of " + number(input) + " positions has no outputs");
  return std::visit([&](const auto& m) { return outputs_of(m, input); }, map);
}

Interval reach(const AxisMap& map, std::int64_t input, Interval out) {
  if (out.empty()) return {};
  return std::visit([&](const auto& m) { return reach_of(m, input, out); }, map);
}

Runs read_positions(const AxisMap& map, std::int64_t input, const Runs& out) {
  Runs reads;
  std::visit(
      [&](const auto& m) {
        const bool gapless = without_gaps(m, input);
        for (const Interval run : out) {
          if (gapless || (by_output(m) && run.size() > static_cast<std::int64_t>(most_runs))) {
            add(reads, reach_of(m, input, run), input);
          } else {
            add_with_gaps(reads, m, input, run);
          }
        }
      },
      map);
  merge(reads);
  return reads;
}

std::optional<std::int64_t> pad_source(const AxisPad& pad, std::int64_t input, std::int64_t o) {
  const Interval read = intersect(reach_of(pad, input, {o, o + 1}), {0, input});
  return read.empty() ? std::nullopt : std::optional(read.begin);
}

AxisScale scale_of(const AxisMap& map, std::int64_t input) {
  return std::visit([&](const auto& m) { return scale_from(m, input); }, map);
}

PlaneMap plane_map(const Window& window) { return {window.rows(), window.cols()}; }

Extent2 output_extent(const PlaneMap& map, Extent2 input) {
  return {output_size(map.rows, input.height), output_size(map.cols, input.width)};
}

}  // namespace halotile
