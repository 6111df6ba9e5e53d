// Pools.
#include <fmt/format.h>

#include "pipeline/network/ops/windows.hpp"

namespace halotile {
namespace {

Window read_pool_window(YamlMap& map, bool dilation) {
  const Window w = read_window(map, {nullptr, dilation, true});
  const Extent2 padding = w.padding.begin;
  if (2 * padding.height > w.kernel.height || 2 * padding.width > w.kernel.width) {
    map.error(fmt::format(
        "has padding {} with kernel {}; a pool's padding may be at most half its kernel, or windows "
        "would hold nothing but padding",
        to_string(padding), to_string(w.kernel)));
  }
  return w;
}

void read_max_pool(YamlMap& map, Node& node, Shapes) {
  node.op = Pool2d{PoolKind::max, read_pool_window(map, true)};
}

void read_avg_pool(YamlMap& map, Node& node, Shapes) {
  Pool2d pool{PoolKind::average, read_pool_window(map, false)};
  pool.count_include_pad = map.boolean("count_include_pad", true);
  node.op = pool;
}

void read_adaptive_avg_pool(YamlMap& map, Node& node, Shapes) {
  Window w;
  w.adaptive_output = Extent2{1, 1};
  if (const auto output = map.require("output", "output: [6, 6]"))
    w.adaptive_output = output->extent(1, largest_size).value_or(Extent2{1, 1});
  node.op = Pool2d{PoolKind::average, w};
}

MapShape shape_of_pool(const Node& node, Shapes in) {
  return {in.front().channels, output_extent(std::get<Pool2d>(node.op).window, in.front().extent)};
}

PlaneMap reads_of_pool(const Node& node, std::size_t, Shapes) {
  return plane_map(std::get<Pool2d>(node.op).window);
}

double flops_of_pool(const Node& node, Shapes in, const MapShape& out) {
  const Window& window = std::get<Pool2d>(node.op).window;
  if (window.adaptive_output) return static_cast<double>(in.front().elements());
  return static_cast<double>(window.kernel.area()) * static_cast<double>(out.elements());
}

}  // namespace

std::vector<OpRow> pool_rows() {
  OpRow pool;
  pool.needs_map = true;
  pool.slides = true;
  pool.shape = shape_of_pool;
  pool.reads = reads_of_pool;
  pool.flops = flops_of_pool;
  std::vector<OpRow> rows(3, pool);
  rows[0].type = "max_pool";
  rows[0].read = read_max_pool;
  rows[1].type = "avg_pool";
  rows[1].read = read_avg_pool;
  rows[2].type = "adaptive_avg_pool";
  rows[2].read = read_adaptive_avg_pool;
  return rows;
}

}  // namespace halotile
