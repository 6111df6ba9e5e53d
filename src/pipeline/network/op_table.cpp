#include "pipeline/network/op_table.hpp"

#include <algorithm>

namespace halotile {
namespace {

std::vector<OpRow> all_rows() {
  std::vector<OpRow> all;
  for (std::vector<OpRow> rows :
       {convolution_rows(), pointwise_rows(), pool_rows(), join_rows(), vector_rows()})
    all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

}  // namespace

std::span<const OpRow> op_table() {
  static const std::vector<OpRow> rows = all_rows();
  return rows;
}

const std::vector<std::string>& op_types() {
  static const std::vector<std::string> types = [] {
    std::vector<std::string> all;
    for (const OpRow& row : op_table()) all.push_back(row.type);
    return all;
  }();
  return types;
}

const OpRow& op_row(const std::string& type) {
  const auto row = std::ranges::find(op_table(), type, &OpRow::type);
  if (row == op_table().end()) throw std::logic_error("no op has the type " + type);
  return *row;
}

std::vector<ParameterSlot> parameters_of(Node& node) {
  if (node.row->parameters == nullptr) return {};
  return node.row->parameters(node);
}

std::int64_t parameter_count(const Node& node) {
  Node copy = node;
  std::int64_t count = 0;
  for (const ParameterSlot& slot : parameters_of(copy)) {
    std::int64_t values = 1;
    for (const std::int64_t size : slot.shape) values *= size;
    count += values;
  }
  return count;
}

}  // namespace halotile
