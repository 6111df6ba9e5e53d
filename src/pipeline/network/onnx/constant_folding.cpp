#include "pipeline/network/onnx/constant_folding.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "pipeline/network/onnx/shapes.hpp"

namespace halotile {
namespace {

using Constants = std::vector<OnnxConstant>;

// Some operators make much of little.
constexpr std::int64_t most_elements = std::int64_t{1} << 24;

std::size_t checked_count(const OnnxShape& shape) {
  const std::int64_t count = product(shape);
  if (count > most_elements)
    throw NodeProblem(
        fmt::format("makes a constant of shape {}, which is too large to be worked out", shown_shape(shape)));
  return static_cast<std::size_t>(count);
}

// Number j of the 8- to 32-bit integer types is cut to their size; floats are rounded to theirs, but for
// the 16-bit ones, which keep a float's precision.
std::int64_t wrapped(int type, std::int64_t value) {
  switch (type) {
    case onnx_type::u8:
      return static_cast<std::uint8_t>(value);
    case onnx_type::i8:
      return static_cast<std::int8_t>(value);
    case onnx_type::u16:
      return static_cast<std::uint16_t>(value);
    case onnx_type::i16:
      return static_cast<std::int16_t>(value);
    case onnx_type::i32:
      return static_cast<std::int32_t>(value);
    case onnx_type::u32:
      return static_cast<std::uint32_t>(value);
    case onnx_type::boolean:
      return value != 0 ? 1 : 0;
    default:
      return value;
  }
}

struct Made {
  explicit Made(int type, OnnxShape shape) : tensor(std::make_shared<OnnxTensor>()) {
    tensor->type = type;
    tensor->shape = std::move(shape);
  }
  void push(double value) {
    if (tensor->type == onnx_type::f64) {
      tensor->doubles.push_back(value);
    } else {
      tensor->floats.push_back(static_cast<float>(value));
    }
  }
  void push(std::int64_t value) { tensor->integers.push_back(wrapped(tensor->type, value)); }
  /// Element `i` of another tensor, of whatever type.
  void push_from(const OnnxTensor& other, std::size_t i) {
    if (is_floating(tensor->type)) {
      push(other.number(i));
    } else if (tensor->type == onnx_type::boolean) {
      push(std::int64_t{other.number(i) != 0 ? 1 : 0});
    } else {
      push(other.integer(i));
    }
  }
  [[nodiscard]] Constants take() const { return {tensor}; }

  std::shared_ptr<OnnxTensor> tensor;
};

const OnnxTensor& input(const Constants& in, std::size_t place) {
  if (place >= in.size() || in[place] == nullptr) throw NodeProblem("lacks an input");
  return *in[place];
}

// Elements between neighbours along each axis; 0 along axes that are broadcast to `out`.
OnnxShape strides_of(const OnnxShape& shape, std::size_t rank) {
  OnnxShape strides(rank, 0);
  std::int64_t step = 1;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1) strides[rank - shape.size() + i] = step;
    step *= shape[i];
  }
  return strides;
}

// Calls visit(offset in each operand) for every element of `shape`, in order.
void for_each_place(const OnnxShape& shape, const std::vector<OnnxShape>& strides,
                    const std::function<void(const std::vector<std::int64_t>&)>& visit) {
  const std::size_t count = checked_count(shape);
  OnnxShape at(shape.size(), 0);
  std::vector<std::int64_t> offsets(strides.size(), 0);
  for (std::size_t done = 0; done < count; ++done) {
    visit(offsets);
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      const bool carry = ++at[axis] == shape[axis];
      for (std::size_t k = 0; k < strides.size(); ++k)
        offsets[k] += carry ? -strides[k][axis] * (shape[axis] - 1) : strides[k][axis];
      if (!carry) break;
      at[axis] = 0;
    }
  }
}

// -- element by element -----------------------------------------------------------------------------------

using NumberFunction = double (*)(double, double);
using IntegerFunction = std::int64_t (*)(std::int64_t, std::int64_t);

// Integers wrap, as the machines' do that ONNX runs on; in unsigned arithmetic that is defined.
std::uint64_t u(std::int64_t value) { return static_cast<std::uint64_t>(value); }

std::int64_t divided(std::int64_t a, std::int64_t b) {
  if (b == 0) throw NodeProblem("divides integers by zero");
  return b == -1 ? static_cast<std::int64_t>(0 - u(a)) : a / b;
}

// The sign of the divisor, as Python's; ONNX's fmod: 1 has that of the dividend and is left out.
std::int64_t modulo(std::int64_t a, std::int64_t b) {
  if (b == 0) throw NodeProblem("divides integers by zero");
  if (b == -1) return 0;
  const std::int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

std::int64_t power(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(
      std::clamp(std::pow(static_cast<double>(a), static_cast<double>(b)), -9e18, 9e18));
}

struct Binary {
  NumberFunction numbers;
  IntegerFunction integers;
  bool truth = false;  ///< makes bool
};

const std::map<std::string, Binary>& binaries() {
  using I = std::int64_t;
  static const std::map<std::string, Binary> table{
      {"Add",
       {[](double a, double b) { return a + b; }, [](I a, I b) { return static_cast<I>(u(a) + u(b)); }}},
      {"Sum",
       {[](double a, double b) { return a + b; }, [](I a, I b) { return static_cast<I>(u(a) + u(b)); }}},
      {"Sub",
       {[](double a, double b) { return a - b; }, [](I a, I b) { return static_cast<I>(u(a) - u(b)); }}},
      {"Mul",
       {[](double a, double b) { return a * b; }, [](I a, I b) { return static_cast<I>(u(a) * u(b)); }}},
      {"Div", {[](double a, double b) { return a / b; }, divided}},
      {"Mod", {[](double a, double b) { return a - b * std::floor(a / b); }, modulo}},
      {"Pow", {[](double a, double b) { return std::pow(a, b); }, power}},
      {"Max", {[](double a, double b) { return std::max(a, b); }, [](I a, I b) { return std::max(a, b); }}},
      {"Min", {[](double a, double b) { return std::min(a, b); }, [](I a, I b) { return std::min(a, b); }}},
      {"Equal",
       {[](double a, double b) { return a == b ? 1.0 : 0.0; }, [](I a, I b) { return I{a == b}; }, true}},
      {"Less",
       {[](double a, double b) { return a < b ? 1.0 : 0.0; }, [](I a, I b) { return I{a < b}; }, true}},
      {"LessOrEqual",
       {[](double a, double b) { return a <= b ? 1.0 : 0.0; }, [](I a, I b) { return I{a <= b}; }, true}},
      {"Greater",
       {[](double a, double b) { return a > b ? 1.0 : 0.0; }, [](I a, I b) { return I{a > b}; }, true}},
      {"GreaterOrEqual",
       {[](double a, double b) { return a >= b ? 1.0 : 0.0; }, [](I a, I b) { return I{a >= b}; }, true}},
      {"And", {nullptr, [](I a, I b) { return I{a != 0 && b != 0}; }, true}},
      {"Or", {nullptr, [](I a, I b) { return I{a != 0 || b != 0}; }, true}},
      {"Xor", {nullptr, [](I a, I b) { return I{(a != 0) != (b != 0)}; }, true}}};
  return table;
}

OnnxConstant binary(const Binary& op, const OnnxTensor& a, const OnnxTensor& b) {
  const OnnxShape shape = broadcast_shape({a.shape, b.shape});
  const bool floating = is_floating(a.type) && op.numbers != nullptr;
  Made made(op.truth ? onnx_type::boolean : a.type, shape);
  for_each_place(shape, {strides_of(a.shape, shape.size()), strides_of(b.shape, shape.size())},
                 [&](const std::vector<std::int64_t>& at) {
                   const auto i = static_cast<std::size_t>(at[0]);
                   const auto j = static_cast<std::size_t>(at[1]);
                   if (!floating) {
                     made.push(op.integers(a.integer(i), b.integer(j)));
                   } else if (op.truth) {
                     made.push(std::int64_t{op.numbers(a.number(i), b.number(j)) != 0});
                   } else {
                     made.push(op.numbers(a.number(i), b.number(j)));
                   }
                 });
  return made.tensor;
}

Constants fold_binary(const Binary& op, const NodeRules& rules, const Constants& in) {
  // Before operator set 7 a second input of fewer axes may be lined up with others than the last.
  if (rules.integer("axis", -1) >= 0 || rules.integer("fmod", 0) != 0) return {};
  OnnxConstant result = in.at(0);
  for (std::size_t k = 1; k < in.size(); ++k) result = binary(op, *result, input(in, k));
  return {result};
}

const std::map<std::string, double (*)(double)>& unaries() {
  static const std::map<std::string, double (*)(double)> table{
      {"Abs", [](double a) { return std::abs(a); }},  {"Ceil", [](double a) { return std::ceil(a); }},
      {"Exp", [](double a) { return std::exp(a); }},  {"Floor", [](double a) { return std::floor(a); }},
      {"Log", [](double a) { return std::log(a); }},  {"Neg", [](double a) { return -a; }},
      {"Reciprocal", [](double a) { return 1 / a; }}, {"Round", [](double a) { return std::nearbyint(a); }},
      {"Sqrt", [](double a) { return std::sqrt(a); }}};
  return table;
}

Constants fold_unary(double (*op)(double), const OnnxTensor& a) {
  Made made(a.type, a.shape);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (is_floating(a.type)) {
      made.push(op(a.number(i)));
    } else {  // Abs and Neg alone have integers
      made.push(static_cast<std::int64_t>(op(static_cast<double>(a.integer(i)))));
    }
  }
  return made.take();
}

Constants fold_not(const NodeRules&, const Constants& in) {
  Made made(onnx_type::boolean, input(in, 0).shape);
  for (std::size_t i = 0; i < in[0]->size(); ++i) made.push(std::int64_t{in[0]->integer(i) == 0});
  return made.take();
}

Constants fold_where(const NodeRules&, const Constants& in) {
  const OnnxTensor& condition = input(in, 0);
  const OnnxTensor& a = input(in, 1);
  const OnnxTensor& b = input(in, 2);
  const OnnxShape shape = broadcast_shape({condition.shape, a.shape, b.shape});
  Made made(a.type, shape);
  const std::size_t rank = shape.size();
  for_each_place(shape,
                 {strides_of(condition.shape, rank), strides_of(a.shape, rank), strides_of(b.shape, rank)},
                 [&](const std::vector<std::int64_t>& at) {
                   if (condition.integer(static_cast<std::size_t>(at[0])) != 0) {
                     made.push_from(a, static_cast<std::size_t>(at[1]));
                   } else {
                     made.push_from(b, static_cast<std::size_t>(at[2]));
                   }
                 });
  return made.take();
}

Constants converted(const OnnxTensor& a, int type) {
  if (!is_floating(type) && type != onnx_type::boolean &&
      (type < onnx_type::u8 || type > onnx_type::u64 || type == 8))
    return {};
  Made made(type, a.shape);
  for (std::size_t i = 0; i < a.size(); ++i) made.push_from(a, i);
  return made.take();
}

Constants fold_cast(const NodeRules& rules, const Constants& in) {
  return converted(input(in, 0), static_cast<int>(rules.integer("to", 0)));
}

Constants fold_cast_like(const NodeRules&, const Constants& in) {
  return converted(input(in, 0), input(in, 1).type);
}

// -- made of nothing --------------------------------------------------------------------------------------

template <typename Values>
Constants list(int type, const Values& values, bool scalar = false) {
  Made made(type, scalar ? OnnxShape{} : OnnxShape{static_cast<std::int64_t>(values.size())});
  for (const auto value : values) made.push(value);
  return made.take();
}

Constants fold_constant(const NodeRules& rules, const Constants&) {
  const auto& attributes = rules.node().attributes;
  if (const auto found = attributes.find("value"); found != attributes.end()) {
    if (found->second.tensor == nullptr)
      throw NodeProblem("cannot be read: its numbers " + found->second.problem);
    return {found->second.tensor};
  }
  if (rules.has("value_float"))
    return list(onnx_type::f32, std::vector{rules.number("value_float", 0)}, true);
  if (rules.has("value_int")) return list(onnx_type::i64, OnnxShape{rules.integer("value_int", 0)}, true);
  if (const auto values = rules.integers("value_ints")) return list(onnx_type::i64, *values);
  if (const auto found = attributes.find("value_floats"); found != attributes.end() && found->second.numbers)
    return list(onnx_type::f32, *found->second.numbers);
  return {};
}

OnnxShape shape_in(const OnnxTensor& tensor) {
  OnnxShape shape;
  for (std::size_t i = 0; i < tensor.size(); ++i) {
    shape.push_back(tensor.integer(i));
    if (shape.back() < 0) throw NodeProblem("makes a constant with a negative size");
  }
  return shape;
}

Constants fold_constant_of_shape(const NodeRules& rules, const Constants& in) {
  const OnnxShape shape = shape_in(input(in, 0));
  const auto found = rules.node().attributes.find("value");
  const OnnxConstant value = found == rules.node().attributes.end() ? nullptr : found->second.tensor;
  if (value != nullptr && value->size() != 1) throw NodeProblem("has a value of several elements");
  Made made(value == nullptr ? onnx_type::f32 : value->type, shape);
  const std::size_t count = checked_count(shape);
  for (std::size_t i = 0; i < count; ++i) {
    if (value == nullptr) {
      made.push(0.0);
    } else {
      made.push_from(*value, 0);
    }
  }
  return made.take();
}

Constants fold_range(const NodeRules&, const Constants& in) {
  const double start = input(in, 0).number(0);
  const double step = input(in, 2).number(0);
  const double span = std::ceil((input(in, 1).number(0) - start) / step);
  if (!(std::abs(span) <= static_cast<double>(most_elements)))
    throw NodeProblem("counts too far to be worked out");
  const auto count = static_cast<std::int64_t>(std::max(span, 0.0));
  Made made(in[0]->type, {count});
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = start + static_cast<double>(i) * step;
    if (is_floating(in[0]->type)) {
      made.push(value);
    } else {
      made.push(static_cast<std::int64_t>(value));
    }
  }
  return made.take();
}

// -- the same elements elsewhere --------------------------------------------------------------------------

std::shared_ptr<OnnxTensor> with_shape(const OnnxTensor& a, OnnxShape shape) {
  auto copy = std::make_shared<OnnxTensor>(a);
  copy->shape = std::move(shape);
  return copy;
}

Constants fold_view(const NodeRules& rules, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  std::vector<OnnxShape> shapes;
  for (const OnnxConstant& other : in) shapes.push_back(other == nullptr ? OnnxShape{} : other->shape);
  OnnxShape shape = output_shape(rules, shapes).value();
  if (shape == a.shape) return {in[0]};
  return {with_shape(a, std::move(shape))};
}

// The elements of `a` at these strides from `offset` on.
Constants strided(const OnnxTensor& a, const OnnxShape& shape, const OnnxShape& strides,
                  std::int64_t offset = 0) {
  Made made(a.type, shape);
  for_each_place(shape, {strides}, [&](const std::vector<std::int64_t>& at) {
    made.push_from(a, static_cast<std::size_t>(offset + at[0]));
  });
  return made.take();
}

OnnxShape plain_strides(const OnnxShape& shape) {
  OnnxShape strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

// Weights may have more elements than others: nothing grows.
Constants fold_transpose(const NodeRules& rules, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  OnnxShape order;
  for (std::size_t i = a.shape.size(); i-- > 0;) order.push_back(static_cast<std::int64_t>(i));
  order = rules.integers("perm").value_or(order);
  const OnnxShape shape = output_shape(rules, {a.shape}).value();
  const OnnxShape own = plain_strides(a.shape);
  if (a.shape.size() == 2 && order == OnnxShape{1, 0}) {
    Made made(a.type, shape);
    for (std::int64_t column = 0; column < a.shape[1]; ++column) {
      for (std::int64_t row = 0; row < a.shape[0]; ++row)
        made.push_from(a, static_cast<std::size_t>(row * a.shape[1] + column));
    }
    return made.take();
  }
  OnnxShape strides;
  for (const std::int64_t axis : order) strides.push_back(own[static_cast<std::size_t>(axis)]);
  return strided(a, shape, strides);
}

Constants fold_slice(const NodeRules& rules, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  const OnnxShape own = plain_strides(a.shape);
  OnnxShape shape;
  OnnxShape strides;
  std::int64_t offset = 0;
  const std::vector<SliceRange> ranges = slice_ranges(rules, a.shape);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    shape.push_back(ranges[i].count);
    strides.push_back(ranges[i].step * own[i]);
    offset += ranges[i].count > 0 ? ranges[i].start * own[i] : 0;
  }
  return strided(a, shape, strides, offset);
}

Constants fold_expand(const NodeRules&, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  const OnnxShape shape = broadcast_shape({a.shape, shape_in(input(in, 1))});
  return strided(a, shape, strides_of(a.shape, shape.size()));
}

Constants fold_gather(const NodeRules& rules, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  const OnnxTensor& indices = input(in, 1);
  const std::size_t axis = axis_of(rules.integer("axis", 0), a.shape.size());
  const auto middle = a.shape.begin() + static_cast<std::ptrdiff_t>(axis);
  const std::int64_t outer = product({a.shape.begin(), middle});
  const std::int64_t inner = product({middle + 1, a.shape.end()});
  const OnnxShape shape = output_shape(rules, {a.shape, indices.shape}).value();
  (void)checked_count(shape);
  Made made(a.type, shape);
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::size_t k = 0; k < indices.size(); ++k) {
      std::int64_t index = indices.integer(k);
      if (index < 0) index += a.shape[axis];
      if (index < 0 || index >= a.shape[axis]) throw NodeProblem("picks an element that is not there");
      for (std::int64_t i = 0; i < inner; ++i)
        made.push_from(a, static_cast<std::size_t>((o * a.shape[axis] + index) * inner + i));
    }
  }
  return made.take();
}

Constants fold_concat(const NodeRules& rules, const Constants& in) {
  std::vector<OnnxShape> shapes;
  for (std::size_t k = 0; k < in.size(); ++k) shapes.push_back(input(in, k).shape);
  const OnnxShape shape = output_shape(rules, shapes).value();
  (void)checked_count(shape);
  const std::size_t axis = axis_of(rules.integer("axis", 1), shape.size());
  const auto middle = shape.begin() + static_cast<std::ptrdiff_t>(axis);
  const std::int64_t outer = product({shape.begin(), middle});
  const std::int64_t inner = product({middle + 1, shape.end()});
  Made made(in[0]->type, shape);
  for (std::int64_t o = 0; o < outer; ++o) {
    for (const OnnxConstant& part : in) {
      const std::int64_t length = part->shape[axis] * inner;
      for (std::int64_t i = 0; i < length; ++i)
        made.push_from(*part, static_cast<std::size_t>(o * length + i));
    }
  }
  return made.take();
}

Constants fold_reduce(const NodeRules& rules, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  const std::string& type = rules.node().type;
  const std::set<std::size_t> axes = reduced_axes(rules, a.shape.size());
  OnnxShape kept = a.shape;
  for (const std::size_t axis : axes) kept[axis] = 1;
  const auto combine = [&type](double x, double y) {
    if (type == "ReduceProd") return x * y;
    if (type == "ReduceMax") return std::max(x, y);
    if (type == "ReduceMin") return std::min(x, y);
    return x + y;
  };
  std::vector<std::optional<double>> sums(checked_count(kept));
  std::size_t i = 0;
  for_each_place(a.shape, {strides_of(kept, kept.size())}, [&](const std::vector<std::int64_t>& at) {
    std::optional<double>& sum = sums[static_cast<std::size_t>(at[0])];
    sum = sum ? combine(*sum, a.number(i)) : a.number(i);
    ++i;
  });
  Made made(a.type, output_shape(rules, {a.shape}).value());
  for (const std::optional<double>& sum : sums) {
    if (!sum) throw NodeProblem("reduces nothing");
    if (is_floating(a.type)) {
      made.push(*sum);
    } else {
      made.push(static_cast<std::int64_t>(std::clamp(*sum, -9e18, 9e18)));
    }
  }
  return made.take();
}

Constants fold_split(const NodeRules& rules, const Constants& in) {
  const OnnxTensor& a = input(in, 0);
  const std::size_t axis = axis_of(rules.integer("axis", 0), a.shape.size());
  const auto parts = static_cast<std::int64_t>(rules.node().outputs.size());
  const std::int64_t even = parts == 0 ? 0 : (a.shape[axis] + parts - 1) / parts;
  OnnxShape sizes(rules.node().outputs.size(), even);
  if (parts > 0) sizes.back() = a.shape[axis] - even * (parts - 1);
  sizes = rules.integers("split", 1).value_or(sizes);
  const OnnxShape own = plain_strides(a.shape);
  Constants results;
  std::int64_t begin = 0;
  for (const std::int64_t size : sizes) {
    if (size < 0 || size > a.shape[axis] - begin) throw NodeProblem("splits more than there is");
    OnnxShape shape = a.shape;
    shape[axis] = size;
    results.push_back(strided(a, shape, own, begin * own[axis]).front());
    begin += size;
  }
  return results;
}

Constants fold_identity(const NodeRules&, const Constants& in) { return {in.at(0)}; }

using Folder = Constants (*)(const NodeRules&, const Constants&);

const std::map<std::string, Folder>& folders() {
  static const std::map<std::string, Folder> table{{"Cast", fold_cast},
                                                   {"CastLike", fold_cast_like},
                                                   {"Concat", fold_concat},
                                                   {"Constant", fold_constant},
                                                   {"ConstantOfShape", fold_constant_of_shape},
                                                   {"Expand", fold_expand},
                                                   {"Flatten", fold_view},
                                                   {"Gather", fold_gather},
                                                   {"Identity", fold_identity},
                                                   {"Not", fold_not},
                                                   {"Range", fold_range},
                                                   {"ReduceMax", fold_reduce},
                                                   {"ReduceMin", fold_reduce},
                                                   {"ReduceProd", fold_reduce},
                                                   {"ReduceSum", fold_reduce},
                                                   {"Reshape", fold_view},
                                                   {"Slice", fold_slice},
                                                   {"Split", fold_split},
                                                   {"Squeeze", fold_view},
                                                   {"Transpose", fold_transpose},
                                                   {"Unsqueeze", fold_view},
                                                   {"Where", fold_where}};
  return table;
}

}  // namespace

std::vector<OnnxConstant> fold_node(const NodeRules& rules, const std::vector<OnnxConstant>& inputs) {
  const std::string& type = rules.node().type;
  if (!rules.node().domain.empty()) return {};
  try {
    if (const auto found = folders().find(type); found != folders().end())
      return found->second(rules, inputs);
    if (const auto found = binaries().find(type); found != binaries().end())
      return fold_binary(found->second, rules, inputs);
    if (const auto found = unaries().find(type); found != unaries().end())
      return fold_unary(found->second, input(inputs, 0));
  } catch (const std::out_of_range&) {  // inputs of too few elements
    throw NodeProblem("breaks ONNX's rules for its kind: its inputs have too few elements");
  }
  return {};
}

OnnxConstant measured_shape(const NodeRules& rules, const OnnxShape& shape) {
  if (rules.node().type == "Size") {
    Made made(onnx_type::i64, {});
    made.push(product(shape));
    return made.tensor;
  }
  const auto rank = static_cast<std::int64_t>(shape.size());
  const auto bound = [rank](std::int64_t at) {
    return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank);
  };
  const std::int64_t begin = bound(rules.integer("start", 0));
  const std::int64_t end = std::max(begin, bound(rules.integer("end", rank)));
  Made made(onnx_type::i64, {end - begin});
  for (std::int64_t i = begin; i < end; ++i) made.push(shape[static_cast<std::size_t>(i)]);
  return made.tensor;
}

}  // namespace halotile
