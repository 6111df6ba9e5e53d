// Writes stores of made-up sweeps for the tests of reports: AlexNet's layers with a plain model of what
// patches and streams cost, so that pictures of them look like real ones. Usage: synthetic_store FILE
// small|large|empty
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "sweeping/store.hpp"

namespace halotile {
namespace {

using nlohmann::json;

constexpr double flops_per_second = 225e9;
constexpr double bytes_per_second = 27e9;

struct SyntheticLayer {
  const char* name;
  const char* kind;
  double mega_flops;  // per image
  double map_bytes;   // per image, in and out
  double weight_bytes;
  double halo_share;  // of the work, in patches of 16 pixels
};

const std::vector<SyntheticLayer> layers{{"conv1", "conv", 211, 1.78e6, 1.4e5, 0},
                                         {"relu1", "relu", 0.3, 2.3e6, 0, 0},
                                         {"norm1", "lrn", 4.6, 2.3e6, 0, 0},
                                         {"pool1", "max_pool", 0.6, 1.4e6, 0, 0.02},
                                         {"conv2", "conv", 448, 1.03e6, 1.2e6, 0.10},
                                         {"norm2", "lrn", 3.0, 1.5e6, 0, 0},
                                         {"pool2", "max_pool", 0.4, 9.2e5, 0, 0.03},
                                         {"conv3", "conv", 299, 4.3e5, 3.5e6, 0.20},
                                         {"conv4", "conv", 224, 5.2e5, 2.6e6, 0.24},
                                         {"conv5", "conv", 150, 4.3e5, 1.8e6, 0.28},
                                         {"pool5", "max_pool", 0.1, 2.1e5, 0, 0.05},
                                         {"fc6", "fully_connected", 75, 5.3e4, 1.5e8, 0},
                                         {"fc7", "fully_connected", 34, 3.3e4, 6.7e7, 0},
                                         {"fc8", "fully_connected", 8.2, 2e4, 1.6e7, 0}};

struct Setting {
  int patch;  // 0: whole
  int streams;
  const char* stages;
  const char* precision;
  int batch;
  const char* storage;
};

json config_of(const Setting& s) {
  const std::string source = HALOTILE_SOURCE_DIR;
  json patch{{"size", "whole"}, {"stages", s.stages}, {"storage", s.storage}};
  if (s.patch > 0) patch["size"] = {s.patch, s.patch};
  return {{"model", source + "/configs/models/alexnet.yaml"},
          {"until", ""},
          {"weights", {{"random", 7}}},
          {"input", {{"batch", s.batch}, {"images", {source + "/data/samples"}}}},
          {"preprocess", {{"resize", 256}, {"crop", {227, 227}}, {"interpolation", "bilinear"}}},
          {"device", "cpu"},
          {"engine", "onednn"},
          {"precision", s.precision},
          {"patch", patch},
          {"streams", s.streams},
          {"threads", 0},
          {"sub_batch", 0},
          {"dispatch", "streams"},
          {"memory", "arena"},
          {"output", {{"directory", "results"}, {"save", json::object()}}},
          {"measure", {{"warmup", 2}, {"min_runs", 10}, {"max_seconds", 15}}}};
}

class Machine {
 public:
  PointRecord measure(const Setting& s, std::int64_t sequence) {
    PointRecord point;
    point.config = config_of(s);
    point.settings = {{"patch.size", point.config["patch"]["size"]},
                      {"patch.stages", s.stages},
                      {"streams", s.streams},
                      {"precision", s.precision},
                      {"input.batch", s.batch},
                      {"patch.storage", s.storage}};
    char hash[17];
    std::snprintf(hash, sizeof hash, "%016zx", std::hash<std::string>()(point.config.dump()));
    point.config_hash = hash;
    point.sequence = sequence;
    char time[32];
    std::snprintf(time, sizeof time, "2026-11-22T%02d:%02d:%02dZ", static_cast<int>(10 + sequence / 240),
                  static_cast<int>(sequence / 4 % 60), static_cast<int>(sequence % 4 * 15));
    point.started = time;
    point.seconds = 14.2;
    if (sequence % 29 == 17) return failed(std::move(point), s);
    point.network = "alexnet";
    point.engine = "onednn";
    point.device = "cpu";
    point.images = s.batch;
    point.verified_elements = 1'400'000LL * s.batch;
    point.logits_hash = "00c0ffee00c0ffee";
    add_work(point, s);
    add_samples(point, s);
    if (sequence % 31 == 7) point.disturbances.emplace_back("another process took 12% of the cores");
    return point;
  }

 private:
  static PointRecord failed(PointRecord point, const Setting& s) {
    if (s.streams % 2 == 0) {
      point.status = PointStatus::different;
      point.message =
          "conv2: 12 of 1400000 elements differ; the first at image 0, row 3, column 9, <tile 0,1>";
      point.verified_elements = 1'400'000;
      point.different_elements = 12;
    } else {
      point.status = PointStatus::error;
      point.message = "tiles of 16 pixels: </script><b>out of memory</b>; use a smaller batch & larger tiles";
    }
    return point;
  }

  static double halo_share(const SyntheticLayer& layer, const Setting& s) {
    if (s.patch == 0) return 0;
    const double fused = std::string(s.stages) == "fused" ? 2.0 : 0.25;
    return std::min(0.8, fused * layer.halo_share * 16 / s.patch);
  }

  static void add_work(PointRecord& point, const Setting& s) {
    const double speed = std::string(s.precision) == "bf16" ? 2.1 : 1;
    const std::int64_t side = s.patch == 0 ? 1 : (227 + s.patch - 1) / s.patch;
    double flops = 0;
    double repeated = 0;
    for (const SyntheticLayer& layer : layers) {
      const double share = halo_share(layer, s);
      LayerRecord record{layer.name, layer.kind, 0, 0, 0, s.batch * side * side};
      record.flops = 1e6 * layer.mega_flops * s.batch / (1 - share);
      record.bytes = (layer.map_bytes / (1 - share) * s.batch + layer.weight_bytes) / speed;
      const double bound =
          std::max(record.flops / (0.9 * speed * flops_per_second), record.bytes / (0.75 * bytes_per_second));
      record.milliseconds = 1e3 * bound * s.streams + 0.002 * static_cast<double>(record.launches);
      flops += record.flops;
      repeated += record.flops * share;
      point.layers.push_back(record);
    }
    if (std::string(s.storage) == "packed" && s.patch > 0) {
      for (const char* kind : {"pack", "place"})
        point.layers.push_back({kind, kind, 0.11 * s.batch * s.streams, 0, 3e6 * s.batch, side * side});
    }
    point.halo_flops_share = repeated / flops;
    const bool fused = std::string(s.stages) == "fused";
    for (const auto& [name, part] : fused
                                        ? std::vector<std::pair<const char*, double>>{{"conv1..pool5", 1.0}}
                                        : std::vector<std::pair<const char*, double>>{{"conv1..norm1", 0.16},
                                                                                      {"pool1", 0.01},
                                                                                      {"conv2..norm2", 0.34},
                                                                                      {"conv3", 0.23},
                                                                                      {"conv4", 0.17},
                                                                                      {"conv5", 0.09}})
      point.stages.push_back({name, side, side, part * flops, part * repeated});
    const double whole_map = 3.1e6 * s.batch;
    const double tile_share = s.patch == 0 ? 1 : std::min(1.0, 1.6 * s.patch / 227.0 * s.patch / 227.0);
    point.map_bytes = static_cast<std::int64_t>(fused && s.patch > 0 ? 0.35 * whole_map : whole_map);
    point.scratch_bytes =
        static_cast<std::int64_t>(s.streams * whole_map * (fused ? 0.9 : 0.15) * tile_share);
    point.peak_memory_bytes = point.map_bytes + point.scratch_bytes + 300'000'000;
  }

  void add_samples(PointRecord& point, const Setting& s) {
    double work = 0;
    for (const LayerRecord& layer : point.layers) work += layer.milliseconds;
    // One queue leaves gaps; many wait for each other; whole maps cannot be shared among streams.
    const double waiting = s.streams == 1 ? 1.10 : 1 + 0.03 * (s.streams - 2);
    const double imbalance = s.patch == 0 ? 1.12 + 0.12 * (s.streams - 1) : waiting;
    const double wall = work / s.streams * imbalance;
    std::lognormal_distribution<double> noise(0, 0.012);
    Timing& t = point.timing;
    for (int i = 0; i < 25; ++i) t.samples.push_back(wall * noise(random_));
    std::vector<double> sorted = t.samples;
    std::sort(sorted.begin(), sorted.end());
    t.median = sorted[12];
    t.q1 = sorted[6];
    t.q3 = sorted[18];
    t.low = sorted[7];
    t.high = sorted[17];
    t.stop = t.high - t.low < 0.02 * t.median ? StopReason::tight : StopReason::time;
    for (int i = 0; i < s.streams; ++i)
      point.stream_busy_share.push_back(work / s.streams / wall * (1 - 0.02 * i));
    point.host_idle_ms = 0.8 * wall;
  }

  std::mt19937_64 random_{7};
};

std::vector<Setting> settings_of(bool large) {
  using Words = std::vector<const char*>;
  std::vector<Setting> settings;
  for (const int batch : large ? std::vector<int>{1, 8, 32} : std::vector<int>{32})
    for (const char* precision : large ? Words{"fp32", "bf16"} : Words{"fp32"})
      for (const char* storage : large ? Words{"view", "packed"} : Words{"view"})
        for (const char* stages : {"per_conv", "fused"})
          for (const int patch : large ? std::vector<int>{16, 32, 48, 64, 96, 128, 0}
                                       : std::vector<int>{16, 32, 48, 64, 128, 0})
            for (const int streams :
                 large ? std::vector<int>{1, 2, 3, 4, 8, 16} : std::vector<int>{1, 2, 3, 4, 8})
              settings.push_back({patch, streams, stages, precision, batch, storage});
  return settings;
}

void write_store(const std::string& file, const std::string& size) {
  Store store(file, Store::Mode::read_write);
  const std::int64_t machine = store.add_machine({{"version", "0.1.0"},
                                                  {"git_commit", "8212594a0c1d2e3f"},
                                                  {"git_dirty", false},
                                                  {"compiler", "GNU 12.2.0"},
                                                  {"build_type", "Release"},
                                                  {"flags", "-O3"},
                                                  {"cpu", "AMD EPYC 9B14"},
                                                  {"cores", 2},
                                                  {"system", "Linux 6.1"},
                                                  {"onednn", "2.6.3"},
                                                  {"cuda", nullptr}});
  if (size == "empty") return;
  std::vector<Setting> settings = settings_of(size == "large");
  std::shuffle(settings.begin(), settings.end(), std::mt19937_64(11));
  SweepRecord sweep;
  sweep.name = "alexnet_" + size;
  sweep.axes = json::array({{{"keys", {"patch.size"}}, {"values", {{16}, {32}, {"whole"}}}},
                            {{"keys", {"streams"}}, {"values", {{1}, {2}, {4}}}}});
  sweep.config = config_of(settings.front());
  sweep.started = "2026-11-22T10:00:00Z";
  sweep.points = static_cast<std::int64_t>(settings.size());
  const std::int64_t id = store.add_sweep(sweep, machine);
  store.set_ceiling({machine, "cpu", "fp32", flops_per_second, bytes_per_second, 0});
  store.set_ceiling({machine, "cpu", "bf16", 2.2 * flops_per_second, bytes_per_second, 0});
  Machine model;
  std::int64_t sequence = 0;
  for (const Setting& setting : settings) {
    PointRecord point = model.measure(setting, sequence);
    point.machine = machine;
    point.sweep = id;
    if (sequence % 6 == 0) {
      const double median = 182 * (1 + 0.012 * std::sin(static_cast<double>(sequence) / 9));
      store.add_drift({id, sequence, point.started, median, 0.994 * median, 1.006 * median});
    }
    store.add_point(point);
    ++sequence;
  }
  store.finish_sweep(id, "2026-11-22T14:00:00Z");
}

}  // namespace
}  // namespace halotile

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: synthetic_store FILE small|large|empty\n", stderr);
    return 2;
  }
  try {
    halotile::write_store(argv[1], argv[2]);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 2;
  }
  return 0;
}
