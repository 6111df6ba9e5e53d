// An ONNX file as plain values: nodes, attributes and tensors, whatever wrote it. Nothing is worked out here.
// Source: ONNX's IR specification (docs/IR.md, docs/ExternalData.md) and schema/onnx.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halotile {

using OnnxShape = std::vector<std::int64_t>;

/// Numbers of element types in files (TensorProto.DataType), of those that are read.
namespace onnx_type {
inline constexpr int f32 = 1, u8 = 2, i8 = 3, u16 = 4, i16 = 5, i32 = 6, i64 = 7, boolean = 9, f16 = 10,
                     f64 = 11, u32 = 12, u64 = 13, bf16 = 16;
}  // namespace onnx_type

/// ONNX's name of an element type: "float16"; a number for one that it does not have.
[[nodiscard]] std::string onnx_type_name(int type);
[[nodiscard]] bool is_floating(int type);

/// An array of numbers in C order. Its type says which of the vectors has them.
struct OnnxTensor {
  int type = onnx_type::f32;
  OnnxShape shape;
  std::vector<float> floats;           ///< f32, and f16 and bf16 exactly
  std::vector<double> doubles;         ///< f64
  std::vector<std::int64_t> integers;  ///< all others; u64 above the largest int64 is refused

  [[nodiscard]] std::size_t size() const { return floats.size() + doubles.size() + integers.size(); }
  [[nodiscard]] double number(std::size_t i) const;
  /// Truncates what is no integer.
  [[nodiscard]] std::int64_t integer(std::size_t i) const;
};

using OnnxConstant = std::shared_ptr<const OnnxTensor>;
struct OnnxGraph;

struct OnnxAttribute {
  std::optional<std::int64_t> integer;
  std::optional<double> number;
  std::optional<std::string> text;
  std::optional<std::vector<std::int64_t>> integers;
  std::optional<std::vector<double>> numbers;
  OnnxConstant tensor;
  std::shared_ptr<const OnnxGraph> graph;
  std::string problem;    ///< why the tensor cannot be read
  std::string reference;  ///< inside a function: the caller's attribute that it stands for
};

struct OnnxNode {
  std::string name;
  std::string type;    ///< the operator
  std::string domain;  ///< "" is ONNX's own
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::map<std::string, OnnxAttribute> attributes;
};

/// An input of the network.
struct OnnxInput {
  std::string name;
  int type = 0;
  bool tensor = true;
  OnnxShape dims;  ///< -1: free
};

struct OnnxGraph {
  std::vector<OnnxNode> nodes;
  std::map<std::string, OnnxConstant> initializers;
  std::map<std::string, std::string> unreadable;  ///< initializers and why they cannot be read
  std::vector<OnnxInput> inputs;                  ///< initializers may be among them
  std::vector<std::string> outputs;
};

/// A function of the file's own, which nodes may name as their operator.
struct OnnxFunction {
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<OnnxNode> nodes;
  std::map<std::string, OnnxAttribute> defaults;
};

struct OnnxFile {
  int opset = 1;  ///< of ONNX's own operators
  OnnxGraph graph;
  std::map<std::string, OnnxFunction> functions;  ///< by "domain::name"
};

/// Reads the file, and the files of weights that it names beside it. Throws FormatError when it cannot be
/// read or is damaged, UnsupportedError in builds without protobuf.
[[nodiscard]] OnnxFile read_onnx_file(const std::filesystem::path& path);

}  // namespace halotile
