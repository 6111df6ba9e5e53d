// The protobuf side of onnx_file.hpp: the only file that knows the generated classes.
#include "pipeline/network/onnx/onnx_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "formats/float_types.hpp"
#include "formats/input_file.hpp"
#include "formats/mapped_file.hpp"
#include "formats/printable.hpp"
#include "onnx.pb.h"
#include "patching/error.hpp"
#include "patching/geometry.hpp"

namespace halotile {
namespace {

// What is wrong with one tensor; a network that does not need it is read all the same.
struct Unreadable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Bytes of an element in `raw_data` and external files; 0 for types that are not read.
std::size_t element_bytes(int type) {
  switch (type) {
    case onnx_type::u8:
    case onnx_type::i8:
    case onnx_type::boolean:
      return 1;
    case onnx_type::u16:
    case onnx_type::i16:
    case onnx_type::f16:
    case onnx_type::bf16:
      return 2;
    case onnx_type::f32:
    case onnx_type::i32:
    case onnx_type::u32:
      return 4;
    case onnx_type::f64:
    case onnx_type::i64:
    case onnx_type::u64:
      return 8;
    default:
      return 0;
  }
}

float sixteen_bits(int type, std::uint16_t bits) {
  if (type == onnx_type::f16) return half_to_float(bits);
  Bfloat16 value;
  value.bits = bits;
  return static_cast<float>(value);
}

std::int64_t signed_of(std::uint64_t value) {
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    throw Unreadable("holds a number above the largest 64-bit signed integer");
  return static_cast<std::int64_t>(value);
}

template <typename Stored, typename To>
void widen(const char* bytes, std::size_t count, std::vector<To>& to) {
  to.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    Stored value;
    std::memcpy(&value, bytes + i * sizeof value, sizeof value);
    if constexpr (std::is_same_v<Stored, std::uint64_t>) {
      to.push_back(signed_of(value));
    } else {
      to.push_back(static_cast<To>(value));
    }
  }
}

// `bytes` are little-endian, as this machine's numbers are.
void read_raw(OnnxTensor& tensor, const char* bytes, std::size_t count) {
  switch (tensor.type) {
    case onnx_type::f32:
      return widen<float>(bytes, count, tensor.floats);
    case onnx_type::f64:
      return widen<double>(bytes, count, tensor.doubles);
    case onnx_type::f16:
    case onnx_type::bf16:
      tensor.floats.reserve(count);
      for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, bytes + i * sizeof bits, sizeof bits);
        tensor.floats.push_back(sixteen_bits(tensor.type, bits));
      }
      return;
    case onnx_type::i8:
      return widen<std::int8_t>(bytes, count, tensor.integers);
    case onnx_type::u16:
      return widen<std::uint16_t>(bytes, count, tensor.integers);
    case onnx_type::i16:
      return widen<std::int16_t>(bytes, count, tensor.integers);
    case onnx_type::i32:
      return widen<std::int32_t>(bytes, count, tensor.integers);
    case onnx_type::u32:
      return widen<std::uint32_t>(bytes, count, tensor.integers);
    case onnx_type::i64:
      return widen<std::int64_t>(bytes, count, tensor.integers);
    case onnx_type::u64:
      return widen<std::uint64_t>(bytes, count, tensor.integers);
    default:
      return widen<std::uint8_t>(bytes, count, tensor.integers);
  }
}

// Elements in the field of their type instead of bytes (TensorProto says which type lies in which field).
void read_fields(OnnxTensor& tensor, const onnx::TensorProto& proto) {
  switch (tensor.type) {
    case onnx_type::f32:
      tensor.floats.assign(proto.float_data().begin(), proto.float_data().end());
      return;
    case onnx_type::f64:
      tensor.doubles.assign(proto.double_data().begin(), proto.double_data().end());
      return;
    case onnx_type::f16:
    case onnx_type::bf16:
      for (const std::int32_t bits : proto.int32_data())
        tensor.floats.push_back(sixteen_bits(tensor.type, static_cast<std::uint16_t>(bits)));
      return;
    case onnx_type::i64:
      tensor.integers.assign(proto.int64_data().begin(), proto.int64_data().end());
      return;
    case onnx_type::u32:
    case onnx_type::u64:
      for (const std::uint64_t value : proto.uint64_data()) tensor.integers.push_back(signed_of(value));
      return;
    default:
      tensor.integers.assign(proto.int32_data().begin(), proto.int32_data().end());
  }
}

std::uint64_t external_number(const std::string& key, const std::string& text) {
  std::uint64_t value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9' || value > (std::uint64_t{1} << 58))
      throw Unreadable(
          fmt::format("has the {} {} of external data, which is no number", key, shown_name(text)));
    value = 10 * value + static_cast<std::uint64_t>(digit - '0');
  }
  return value;
}

class Reader {
 public:
  explicit Reader(std::filesystem::path path) : path_(std::move(path)) {}

  OnnxFile read() {
    onnx::ModelProto proto;
    {
      const MappedFile file(path_);
      file.check_size();
      const std::span<const std::byte> bytes = file.bytes();
      if (bytes.size() > std::numeric_limits<int>::max()) {
        throw FormatError(
            fmt::format("{} has 2 GiB or more, which protobuf cannot hold; save the model with "
                        "its weights as external data",
                        shown_path(path_)));
      }
      if (!proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
        throw FormatError(fmt::format("{} is no ONNX file, or is damaged or cut short", shown_path(path_)));
    }
    OnnxFile file;
    for (const auto& import : proto.opset_import()) {
      if (import.domain().empty() || import.domain() == "ai.onnx")
        file.opset = static_cast<int>(std::clamp<std::int64_t>(import.version(), 1, 1 << 20));
    }
    file.graph = graph(*proto.mutable_graph());
    for (const auto& function : proto.functions())
      file.functions.emplace(function.domain() + "::" + function.name(), this->function(function));
    if (file.graph.nodes.empty())
      throw FormatError(fmt::format("{} holds no nodes; it is no ONNX network", shown_path(path_)));
    return file;
  }

 private:
  // Takes the bytes of tensors out of `proto` one by one, so that they are not in memory twice.
  OnnxGraph graph(onnx::GraphProto& proto) {
    OnnxGraph graph;
    for (onnx::TensorProto& tensor : *proto.mutable_initializer()) {
      try {
        graph.initializers[tensor.name()] = read_tensor(tensor);
      } catch (const Unreadable& e) {
        graph.unreadable[tensor.name()] =
            fmt::format("the weights {} cannot be read: {}", shown_name(tensor.name()), e.what());
      }
      tensor.clear_raw_data();
      tensor.clear_float_data();
    }
    for (const auto& sparse : proto.sparse_initializer()) {
      graph.unreadable[sparse.values().name()] = fmt::format(
          "the weights {} are sparse, which is not supported", shown_name(sparse.values().name()));
    }
    for (const auto& input : proto.input()) graph.inputs.push_back(this->input(input));
    for (const auto& output : proto.output()) graph.outputs.push_back(output.name());
    for (onnx::NodeProto& node : *proto.mutable_node()) graph.nodes.push_back(this->node(node));
    return graph;
  }

  static OnnxInput input(const onnx::ValueInfoProto& proto) {
    OnnxInput input;
    input.name = proto.name();
    input.tensor = proto.type().has_tensor_type();
    input.type = proto.type().tensor_type().elem_type();
    for (const auto& dim : proto.type().tensor_type().shape().dim())
      input.dims.push_back(dim.has_dim_value() && dim.dim_value() > 0 ? dim.dim_value() : -1);
    return input;
  }

  OnnxNode node(onnx::NodeProto& proto) {
    OnnxNode node{
        proto.name(), proto.op_type(), proto.domain() == "ai.onnx" ? "" : proto.domain(), {}, {}, {}};
    node.inputs.assign(proto.input().begin(), proto.input().end());
    node.outputs.assign(proto.output().begin(), proto.output().end());
    for (onnx::AttributeProto& attribute : *proto.mutable_attribute())
      node.attributes[attribute.name()] = this->attribute(attribute);
    return node;
  }

  OnnxAttribute attribute(onnx::AttributeProto& proto) {
    OnnxAttribute attribute;
    attribute.reference = proto.ref_attr_name();
    if (proto.has_i()) attribute.integer = proto.i();
    if (proto.has_f()) attribute.number = static_cast<double>(proto.f());
    if (proto.has_s()) attribute.text = proto.s();
    if (proto.ints_size() > 0 || proto.type() == onnx::AttributeProto::INTS)
      attribute.integers.emplace(proto.ints().begin(), proto.ints().end());
    if (proto.floats_size() > 0 || proto.type() == onnx::AttributeProto::FLOATS)
      attribute.numbers.emplace(proto.floats().begin(), proto.floats().end());
    if (proto.has_g()) attribute.graph = std::make_shared<OnnxGraph>(graph(*proto.mutable_g()));
    if (proto.has_t()) {
      try {
        attribute.tensor = read_tensor(proto.t());
      } catch (const Unreadable& e) {
        attribute.problem = e.what();
      }
    }
    return attribute;
  }

  OnnxFunction function(onnx::FunctionProto proto) {
    OnnxFunction function;
    function.inputs.assign(proto.input().begin(), proto.input().end());
    function.outputs.assign(proto.output().begin(), proto.output().end());
    for (onnx::NodeProto& node : *proto.mutable_node()) function.nodes.push_back(this->node(node));
    for (onnx::AttributeProto& attribute : *proto.mutable_attribute_proto())
      function.defaults[attribute.name()] = this->attribute(attribute);
    return function;
  }

  OnnxConstant read_tensor(const onnx::TensorProto& proto) {
    auto tensor = std::make_shared<OnnxTensor>();
    tensor->type = proto.data_type();
    tensor->shape.assign(proto.dims().begin(), proto.dims().end());
    const std::size_t bytes = element_bytes(tensor->type);
    if (bytes == 0) {
      throw Unreadable(
          fmt::format("are of the type {}, which is not supported yet (floating-point types of 16 "
                      "bits or more, bool and integers of 8 bits or more are)",
                      onnx_type_name(tensor->type)));
    }
    const std::size_t count = elements(tensor->shape);
    if (proto.data_location() == onnx::TensorProto::EXTERNAL) {
      const std::vector<std::byte> data = external(proto, count * bytes);
      read_raw(*tensor, reinterpret_cast<const char*>(data.data()), count);
    } else if (proto.has_raw_data()) {
      if (proto.raw_data().size() != count * bytes) {
        throw Unreadable(fmt::format("{} bytes are there, their shape and type take {}",
                                     proto.raw_data().size(), count * bytes));
      }
      read_raw(*tensor, proto.raw_data().data(), count);
    } else {
      read_fields(*tensor, proto);
      if (tensor->size() != count) {
        throw Unreadable(fmt::format("{} elements are there, their shape takes {}", tensor->size(), count));
      }
    }
    return tensor;
  }

  static std::size_t elements(const OnnxShape& shape) {
    std::int64_t count = 1;
    try {
      for (const std::int64_t size : shape) {
        if (size < 0) throw Unreadable("their shape has a negative size");
        count = checked_multiply(count, size, "the number of elements");
      }
      (void)checked_multiply(count, 8, "the bytes");
    } catch (const ShapeError& e) {
      throw Unreadable(e.what());
    }
    return static_cast<std::size_t>(count);
  }

  // The part of another file that the tensor names. Only files in the model's own folder or below are read:
  // a network from elsewhere must not be able to name any file.
  [[nodiscard]] std::vector<std::byte> external(const onnx::TensorProto& proto, std::size_t bytes) const {
    std::string location;
    std::uint64_t offset = 0;
    std::uint64_t length = bytes;
    for (const auto& entry : proto.external_data()) {
      if (entry.key() == "location") location = entry.value();
      if (entry.key() == "offset") offset = external_number("offset", entry.value());
      if (entry.key() == "length") length = external_number("length", entry.value());
    }
    const std::filesystem::path named(location);
    const bool outside = named.is_absolute() ||
                         std::find(named.begin(), named.end(), std::filesystem::path("..")) != named.end();
    if (location.empty() || outside) {
      throw Unreadable(
          fmt::format("their external data are said to be in {}; a file in the model's folder is needed",
                      shown_name(location)));
    }
    if (length != bytes) {
      throw Unreadable(fmt::format("{} bytes are in {}, their shape and type take {}", length,
                                   shown_name(location), bytes));
    }
    try {
      const InputFile file(path_.parent_path() / named);
      const auto size = static_cast<std::uint64_t>(file.size());
      if (offset > size || bytes > size - offset) {
        throw Unreadable(
            fmt::format("{} has {} bytes, they end at byte {}; it is cut short, or belongs to another "
                        "model",
                        shown_path(file.path()), size, offset + bytes));
      }
      std::vector<std::byte> data(bytes);
      file.read(static_cast<std::int64_t>(offset), data);
      return data;
    } catch (const FormatError& e) {
      throw Unreadable(e.what());
    }
  }

  std::filesystem::path path_;
};

}  // namespace

OnnxFile read_onnx_file(const std::filesystem::path& path) {
  try {
    return Reader(path).read();
  } catch (const std::bad_alloc&) {
    throw FormatError(fmt::format("{}: its weights take more memory than there is", shown_path(path)));
  }
}

}  // namespace halotile
