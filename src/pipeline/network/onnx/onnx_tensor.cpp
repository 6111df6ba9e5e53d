#include <algorithm>
#include <array>
#include <cmath>

#include "pipeline/network/onnx/onnx_file.hpp"

namespace halotile {
namespace {

// TensorProto.DataType, in order.
constexpr std::array type_names{
    "undefined", "float32",    "uint8",      "int8",         "uint16",         "int16",      "int32",
    "int64",     "string",     "bool",       "float16",      "float64",        "uint32",     "uint64",
    "complex64", "complex128", "bfloat16",   "float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz",
    "uint4",     "int4",       "float4e2m1", "float8e8m0",   "uint2",          "int2"};

}  // namespace

std::string onnx_type_name(int type) {
  if (type < 0 || type >= static_cast<int>(type_names.size())) return "type " + std::to_string(type);
  return type_names[static_cast<std::size_t>(type)];
}

bool is_floating(int type) {
  return type == onnx_type::f32 || type == onnx_type::f16 || type == onnx_type::bf16 ||
         type == onnx_type::f64;
}

double OnnxTensor::number(std::size_t i) const {
  if (!floats.empty()) return static_cast<double>(floats.at(i));
  if (!doubles.empty()) return doubles.at(i);
  return static_cast<double>(integers.at(i));
}

std::int64_t OnnxTensor::integer(std::size_t i) const {
  if (!integers.empty()) return integers.at(i);
  // Values beyond the range have no integer; a conversion of them would be undefined.
  constexpr double most = 9.2e18;
  const double value = number(i);
  return std::isnan(value) ? 0 : static_cast<std::int64_t>(std::clamp(value, -most, most));
}

}  // namespace halotile
