#include "pipeline/network/onnx/node_rules.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::int64_t largest_number = (std::int64_t{1} << 31) - 1;  // of a window: sums of them fit 64 bits

std::string listed(const OnnxShape& values) { return fmt::format("[{}]", fmt::join(values, ", ")); }

OnnxShape integers_of(const OnnxTensor& tensor) {
  OnnxShape values;
  for (std::size_t i = 0; i < tensor.size(); ++i) values.push_back(tensor.integer(i));
  return values;
}

}  // namespace

std::string label_of(const OnnxNode& node) {
  const std::string& name = !node.name.empty() || node.outputs.empty() ? node.name : node.outputs.front();
  return fmt::format("node {} ({})", shown_name(name), printable(node.type));
}

std::string shown_shape(const OnnxShape& shape) {
  std::vector<std::string> words;
  for (const std::int64_t size : shape) {
    if (size == free_batch) {
      words.emplace_back("batch");
    } else if (size > 0 && size % free_batch == 0) {
      words.push_back(fmt::format("{} * batch", size / free_batch));
    } else {
      words.push_back(std::to_string(size));
    }
  }
  return fmt::format("[{}]", fmt::join(words, ", "));
}

std::int64_t product(const OnnxShape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (__builtin_mul_overflow(count, size, &count))
      throw NodeProblem("has more elements than 64 bits can count");
  }
  return count;
}

const OnnxAttribute* NodeRules::find(const std::string& attribute) const {
  const auto found = node_.attributes.find(attribute);
  return found == node_.attributes.end() ? nullptr : &found->second;
}

namespace {

// Attributes whose type is not the operator's: only a damaged file has them.
template <typename Value>
const Value& of_right_type(const std::optional<Value>& value, const std::string& name) {
  if (!value) throw NodeProblem(fmt::format("has an attribute {} of the wrong type", name));
  return *value;
}

}  // namespace

std::int64_t NodeRules::integer(const std::string& attribute, std::int64_t otherwise) const {
  const OnnxAttribute* const found = find(attribute);
  return found == nullptr ? otherwise : of_right_type(found->integer, attribute);
}

double NodeRules::number(const std::string& attribute, double otherwise) const {
  const OnnxAttribute* const found = find(attribute);
  return found == nullptr ? otherwise : of_right_type(found->number, attribute);
}

std::string NodeRules::word(const std::string& attribute, const std::string& otherwise) const {
  const OnnxAttribute* const found = find(attribute);
  return found == nullptr ? otherwise : of_right_type(found->text, attribute);
}

std::optional<OnnxShape> NodeRules::integers(const std::string& attribute) const {
  const OnnxAttribute* const found = find(attribute);
  if (found == nullptr) return std::nullopt;
  return of_right_type(found->integers, attribute);
}

std::optional<OnnxShape> NodeRules::integers(const std::string& name, std::size_t place) const {
  if (auto given = integers(name)) return given;
  const OnnxConstant input = constant(place, name);
  if (input == nullptr) return std::nullopt;
  return integers_of(*input);
}

std::optional<double> NodeRules::number_at(const std::string& name, std::size_t place) const {
  if (has(name)) return number(name, 0);
  const OnnxConstant input = constant(place, name);
  if (input == nullptr) return std::nullopt;
  if (input->size() != 1) {
    throw NodeProblem(
        fmt::format("has a {} of shape {}, where one number is needed", name, shown_shape(input->shape)));
  }
  return input->number(0);
}

OnnxConstant NodeRules::constant(std::size_t place, const std::string& what) const {
  if (!has_input(place)) return nullptr;
  const auto found = constants_.find(node_.inputs[place]);
  if (found == constants_.end()) {
    throw NodeProblem(fmt::format("has a {} that is computed ({}); only constants can be taken", what,
                                  shown_name(node_.inputs[place])));
  }
  return found->second;
}

OnnxConstant NodeRules::needed(std::size_t place, const std::string& what) const {
  OnnxConstant found = constant(place, what);
  if (found == nullptr) throw NodeProblem(fmt::format("lacks its {}", what));
  return found;
}

std::size_t axis_of(std::int64_t axis, std::size_t rank) {
  const auto axes = static_cast<std::int64_t>(rank);
  if (axis < -axes || axis >= axes) throw NodeProblem(fmt::format("names the axis {} of {}", axis, rank));
  return static_cast<std::size_t>(axis < 0 ? axis + axes : axis);
}

std::set<std::size_t> axes_of(const OnnxShape& axes, std::size_t rank) {
  std::set<std::size_t> found;
  for (const std::int64_t axis : axes) found.insert(axis_of(axis, rank));
  return found;
}

std::set<std::size_t> reduced_axes(const NodeRules& rules, std::size_t rank) {
  const auto axes = rules.integers("axes", 1);
  if (axes && !axes->empty()) return axes_of(*axes, rank);
  std::set<std::size_t> all;
  if (rules.integer("noop_with_empty_axes", 0) != 0) return all;
  for (std::size_t axis = 0; axis < rank; ++axis) all.insert(axis);
  return all;
}

std::vector<AxisPadding> pads_by_axis(const NodeRules& rules, std::size_t rank) {
  auto pads = rules.integers("pads", 1);
  if (!pads) pads = rules.integers("paddings");
  const auto axes = rules.integers("axes", 3);
  std::vector<std::size_t> named;
  if (axes) {
    for (const std::int64_t axis : *axes) named.push_back(axis_of(axis, rank));
  } else {
    for (std::size_t axis = 0; axis < rank; ++axis) named.push_back(axis);
  }
  if (!pads || pads->size() != 2 * named.size())
    throw NodeProblem(
        fmt::format("has the pads {} for {} axes", listed(pads.value_or(OnnxShape{})), named.size()));
  for (const std::int64_t pad : *pads) {
    if (std::abs(pad) > largest_number) throw NodeProblem(fmt::format("has the pads {}", listed(*pads)));
  }
  std::vector<AxisPadding> result(rank);
  for (std::size_t i = 0; i < named.size(); ++i) result[named[i]] = {(*pads)[i], (*pads)[i + named.size()]};
  return result;
}

namespace {

SliceRange slice_range(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) {
  const std::int64_t lowest = step > 0 ? 0 : -1;
  const std::int64_t highest = step > 0 ? size : size - 1;
  const auto inside = [&](std::int64_t at) { return std::clamp(at < 0 ? at + size : at, lowest, highest); };
  const std::int64_t first = inside(start);
  const std::int64_t last = inside(end);
  // In steps of more than the size there is one element at most; the division below cannot overflow.
  const std::int64_t stride = std::clamp(step, -size - 1, size + 1);
  const std::int64_t span = stride > 0 ? last - first : first - last;
  const std::int64_t count = span <= 0 ? 0 : (span + std::abs(stride) - 1) / std::abs(stride);
  return {first, stride, count};
}

}  // namespace

std::vector<SliceRange> slice_ranges(const NodeRules& rules, const OnnxShape& shape) {
  const auto starts = rules.integers("starts", 1);
  const auto ends = rules.integers("ends", 2);
  if (!starts || !ends) throw NodeProblem("lacks its starts or ends");
  OnnxShape axes;
  for (std::size_t i = 0; i < starts->size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  axes = rules.integers("axes", 3).value_or(axes);
  const OnnxShape steps = rules.integers("steps", 4).value_or(OnnxShape(starts->size(), 1));
  const bool fits =
      ends->size() == starts->size() && axes.size() == starts->size() && steps.size() == starts->size();
  if (!fits || std::find(steps.begin(), steps.end(), 0) != steps.end()) {
    throw NodeProblem(fmt::format("has the starts {}, ends {}, axes {} and steps {}", listed(*starts),
                                  listed(*ends), listed(axes), listed(steps)));
  }
  std::vector<SliceRange> ranges;
  for (const std::int64_t size : shape) ranges.push_back({0, 1, size});
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = axis_of(axes[i], shape.size());
    ranges[axis] = slice_range(shape[axis], (*starts)[i], (*ends)[i], steps[i]);
  }
  return ranges;
}

namespace {

// Outputs are as many as strides begin in the map; padding makes it so. An odd rest goes behind with
// SAME_UPPER, before with SAME_LOWER.
void pad_to_same(OnnxWindows& w, bool upper) {
  for (std::size_t i = 0; i < w.sizes.size(); ++i) {
    const std::int64_t reach = w.dilations[i] * (w.kernel[i] - 1) + 1;
    const std::int64_t outputs = (w.sizes[i] + w.strides[i] - 1) / w.strides[i];
    const std::int64_t total = std::max<std::int64_t>((outputs - 1) * w.strides[i] + reach - w.sizes[i], 0);
    w.before[i] = upper ? total / 2 : total - total / 2;
    w.behind[i] = total - w.before[i];
  }
}

// Rounds down; or with ceil_mode up, where the last window begins in the map or the padding before. Operator
// sets 10 to 21 do not say the latter of MaxPool, but every runtime does it.
std::int64_t outputs_along(const OnnxWindows& w, std::size_t i) {
  const std::int64_t padded = w.sizes[i] + w.before[i] + w.behind[i];
  const std::int64_t span = padded - (w.dilations[i] * (w.kernel[i] - 1) + 1);
  if (span < 0) return 0;
  std::int64_t outputs = (w.ceil_mode ? span + w.strides[i] - 1 : span) / w.strides[i] + 1;
  if (w.ceil_mode && (outputs - 1) * w.strides[i] >= w.sizes[i] + w.before[i]) --outputs;
  return outputs;
}

}  // namespace

OnnxWindows::OnnxWindows(const NodeRules& rules, OnnxShape over, OnnxShape window_kernel)
    : sizes(std::move(over)), kernel(std::move(window_kernel)) {
  const std::size_t rank = sizes.size();
  strides = rules.integers("strides").value_or(OnnxShape(rank, 1));
  dilations = rules.integers("dilations").value_or(OnnxShape(rank, 1));
  std::string mode = rules.word("auto_pad", "NOTSET");
  if (mode.empty()) mode = "NOTSET";
  OnnxShape pads(2 * rank, 0);
  if (mode == "NOTSET") pads = rules.integers("pads").value_or(pads);
  const auto bounded = [&](const OnnxShape& values, std::int64_t least) {
    return std::ranges::all_of(values, [&](std::int64_t v) { return v >= least && v <= largest_number; });
  };
  const bool fits =
      kernel.size() == rank && strides.size() == rank && dilations.size() == rank && pads.size() == 2 * rank;
  if (!fits || !bounded(kernel, 1) || !bounded(strides, 1) || !bounded(dilations, 1) ||
      !bounded(pads, -largest_number)) {
    throw NodeProblem(
        fmt::format("has the kernel {}, strides {}, dilations {} and pads {} on a map of {} axes",
                    listed(kernel), listed(strides), listed(dilations), listed(pads), rank));
  }
  if (!bounded(pads, 0)) throw NodeProblem(fmt::format("has the negative pads {}", listed(pads)));
  before.assign(pads.begin(), pads.begin() + static_cast<std::ptrdiff_t>(rank));
  behind.assign(pads.begin() + static_cast<std::ptrdiff_t>(rank), pads.end());
  // SAME says itself how many outputs there are; VALID is no padding, and runtimes round up there too.
  ceil_mode = rules.integer("ceil_mode", 0) != 0 && (mode == "NOTSET" || mode == "VALID");
  if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
    pad_to_same(*this, mode == "SAME_UPPER");
  } else if (mode != "NOTSET" && mode != "VALID") {
    throw NodeProblem(fmt::format("has the auto_pad {}, which ONNX does not define", shown_name(mode)));
  }
}

OnnxShape OnnxWindows::outputs() const {
  OnnxShape out;
  for (std::size_t i = 0; i < sizes.size(); ++i) out.push_back(outputs_along(*this, i));
  if (std::ranges::any_of(out, [](std::int64_t n) { return n < 1; })) {
    OnnxShape pads = before;
    pads.insert(pads.end(), behind.begin(), behind.end());
    throw NodeProblem(
        fmt::format("has a window of {} (dilations {}, pads {}) on a map of {}, which it does not fit in",
                    listed(kernel), listed(dilations), listed(pads), listed(sizes)));
  }
  return out;
}

}  // namespace halotile
