// Experiments from values: a network made in code, weights and input in memory, and no file that is read or
// written. Outputs are compared with those of a plain executor.
#include "pipeline/experiment/run.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "formats/memory_tensors.hpp"
#include "kernels/engines/engine.hpp"
#include "patching/error.hpp"
#include "pipeline/experiment/verify.hpp"
#include "pipeline/network/random.hpp"
#include "pipeline/network/stages.hpp"
#include "pipeline/support.hpp"

namespace halotile {
namespace {

constexpr MapShape input_shape{3, {12, 10}};
constexpr std::int64_t images = 5;
constexpr std::int64_t classes = 6;

// conv1 (3x3, 4 channels), relu1, pool1 (2x2), flatten1, fc1.
Network small_network() {
  Network network;
  network.name = "small";
  network.set_input(input_shape);
  Conv2d conv;
  conv.out_channels = 4;
  conv.window.kernel = {3, 3};
  conv.window.padding = Extent2{1, 1};
  network.add("conv", "conv1", conv);
  network.add("relu", "relu1", Relu{});
  Pool2d pool;
  pool.window.kernel = pool.window.stride = {2, 2};
  network.add("max_pool", "pool1", pool);
  network.add("flatten", "flatten1", Flatten{});
  FullyConnected fc;
  fc.out_features = classes;
  network.add("fully_connected", "fc1", fc);
  network.finish();
  return network;
}

NpyArray values(const std::string& name, std::vector<std::int64_t> shape) {
  NpyArray array{std::move(shape), {}};
  std::int64_t count = 1;
  for (const std::int64_t size : array.shape) count *= size;
  const RandomSequence sequence(3, name);
  for (std::int64_t i = 0; i < count; ++i)
    array.data.push_back(sequence.uniform(static_cast<std::uint64_t>(i)));
  return array;
}

std::map<std::string, NpyArray> small_arrays() {
  std::map<std::string, NpyArray> arrays;
  for (const auto& [name, shape] :
       std::map<std::string, std::vector<std::int64_t>>{{"conv1.weight", {4, 3, 3, 3}},
                                                        {"conv1.bias", {4}},
                                                        {"fc1.weight", {classes, 4 * 6 * 5}},
                                                        {"fc1.bias", {classes}}})
    arrays[name] = values(name, shape);
  return arrays;
}

Weights small_weights(const Network& network) {
  return Weights::from_file(network, *tensors_in_memory(small_arrays()), {});
}

NpyArray small_input(std::int64_t count = images) {
  return values("input", {count, input_shape.channels, input_shape.extent.height, input_shape.extent.width});
}

// On the reference engine, in patches of 4 and two streams.
Experiment small_experiment(std::int64_t batch) {
  Experiment experiment;
  experiment.name = "small";
  experiment.device.kind = DeviceKind::cpu;
  experiment.engine = EngineKind::reference;
  experiment.patch = {PatchSpec::Kind::size, {4, 4}};
  experiment.streams = 2;
  experiment.input.batch = batch;
  experiment.output.save = {{"pool1", ""}, {"logits", ""}};
  experiment.measure = {1, 3, 10, 0.02, false};
  return experiment;
}

Session session_of(const Experiment& experiment, std::unique_ptr<InputSource> input) {
  const Network network = small_network();
  return {experiment, network, small_weights(network), std::move(input)};
}

// What a plain executor makes of all images at once, whole, as (images, C, H, W).
std::vector<float> plain_outputs(const std::string& layer_name) {
  Network network = small_network();
  small_weights(network).bind(network);
  const std::size_t layer = network.index_of(layer_name);
  const std::unique_ptr<Engine> engine = make_reference_engine();
  ExecutorSettings settings;
  settings.batch = images;
  settings.keep = {layer};
  Executor executor(
      network,
      make_plan(network.geometry(),
                stages_of(network, split_behind(per_conv_groups(network), {layer}), {layer}), PatchSpec{}),
      *engine, settings);
  array_input(small_input(), input_shape)->fill({0, images}, executor.input());
  executor.load_input();
  executor.run();
  const ConstMapView map = executor.output(layer);
  std::vector<float> values;
  for (std::int64_t n = 0; n < images; ++n) {
    for (std::int64_t c = 0; c < map.channels; ++c) {
      for (std::int64_t y = 0; y < map.whole.height; ++y) {
        for (std::int64_t x = 0; x < map.whole.width; ++x) values.push_back(map.at<float>(n, y, x)[c]);
      }
    }
  }
  return values;
}

const LayerOutput& output_of(const RunResult& result, const std::string& layer) {
  const auto found = std::ranges::find(result.outputs, layer, &LayerOutput::layer);
  if (found == result.outputs.end()) throw std::out_of_range(layer);
  return *found;
}

void expect_plain_outputs(const RunResult& result) {
  const LayerOutput& pool = output_of(result, "pool1");
  EXPECT_EQ(pool.shape, (std::vector<std::int64_t>{images, 4, 6, 5}));
  EXPECT_EQ(pool.values, plain_outputs("pool1"));
  const LayerOutput& logits = output_of(result, "logits");
  EXPECT_EQ(logits.shape, (std::vector<std::int64_t>{images, classes}));
  EXPECT_EQ(logits.values, plain_outputs("fc1"));
}

// Notes what it is told.
class Witness final : public RunObserver {
 public:
  void begin(std::span<const LayerOutput> outputs, const std::string& labels_note) override {
    for (const LayerOutput& output : outputs) {
      told += " " + output.layer;
      EXPECT_EQ(output.shape[0], 0);
    }
    EXPECT_EQ(labels_note, "");
  }
  void measured(const std::function<void()>& run) override {
    run();
    told += " measured";
  }
  void begin_stream(std::int64_t count) override { told += " stream " + std::to_string(count); }
  void outputs(std::span<const LayerOutput> of_batch) override {
    told += " +" + std::to_string(of_batch[0].shape[0]);
    for (const float value : of_batch[0].values) first.push_back(value);
  }
  void progress(std::int64_t done) override { told += " " + std::to_string(done); }

  std::string told;
  std::vector<float> first;
};

TEST(RunExperiment, FromValuesHasThePlainExecutorsOutputs) {
  for (const std::int64_t batch : {1, 2, 5}) {
    SCOPED_TRACE(batch);
    const Session session = session_of(small_experiment(batch), array_input(small_input(), input_shape));
    const RunResult result = run_experiment(session);
    expect_plain_outputs(result);
    EXPECT_EQ(result.images, images);
    EXPECT_EQ(result.batch, batch);
    EXPECT_EQ(result.stream.has_value(), batch < images);
    EXPECT_TRUE(result.skipped.empty());
    EXPECT_EQ(result.measured.timing.samples.size(), 3U);
    EXPECT_EQ(result.measured.stages.size(), 2U);
    EXPECT_EQ(result.measured.stages[0].name, "conv1..relu1");
    EXPECT_GT(result.peak_memory_bytes, 0U);
  }
}

TEST(RunExperiment, TouchesNoFile) {
  const std::filesystem::path before = std::filesystem::current_path();
  const support::TempFolder folder;
  std::filesystem::current_path(folder.path());
  const Session session = session_of(small_experiment(2), array_input(small_input(), input_shape));
  const RunResult result = run_experiment(session);
  const bool untouched = std::filesystem::is_empty(folder.path());
  std::filesystem::current_path(before);
  EXPECT_TRUE(untouched);
  EXPECT_EQ(result.images, images);
}

TEST(RunExperiment, TakesMapsThatLieInMemory) {
  // NHWC with gaps between rows: columns 2 to 12 of wider rows.
  const NpyArray nchw = small_input();
  const Extent2 e = input_shape.extent;
  const std::int64_t row_stride = (e.width + 5) * 3;
  std::vector<float> memory(static_cast<std::size_t>(images * e.height * row_stride),
                            std::numeric_limits<float>::quiet_NaN());
  const ConstMapView maps{{DType::f32, images, 3, Rect::whole(e), e, e.height * row_stride, row_stride, 3},
                          memory.data() + 2 * 3};
  std::size_t from = 0;
  for (std::int64_t n = 0; n < images; ++n) {
    for (std::int64_t c = 0; c < 3; ++c) {
      for (std::int64_t y = 0; y < e.height; ++y) {
        for (std::int64_t x = 0; x < e.width; ++x)
          memory[static_cast<std::size_t>(2 * 3 + maps.offset(n, y, x) + c)] = nchw.data[from++];
      }
    }
  }
  const Session session = session_of(small_experiment(2), map_input(maps, input_shape));
  EXPECT_EQ(session.input().name(4), "map 4");
  expect_plain_outputs(run_experiment(session));
}

TEST(RunExperiment, PredictsFromTheLogits) {
  const Session session = session_of(small_experiment(2), array_input(small_input(), input_shape));
  const RunResult result = run_experiment(session);
  const std::vector<float> logits = plain_outputs("fc1");
  const std::span<const Prediction> predictions = result.predictions.all();
  ASSERT_EQ(predictions.size(), static_cast<std::size_t>(images));
  for (std::size_t n = 0; n < predictions.size(); ++n) {
    const auto first = logits.begin() + static_cast<std::ptrdiff_t>(n * classes);
    EXPECT_EQ(predictions[n].image, "array [" + std::to_string(n) + "]");
    ASSERT_EQ(predictions[n].top.size(), 5U);
    EXPECT_EQ(predictions[n].top[0].index, std::max_element(first, first + classes) - first);
  }
}

TEST(RunExperiment, TellsItsObserverBatchByBatch) {
  Witness stream;
  const Session several = session_of(small_experiment(2), array_input(small_input(), input_shape));
  const RunResult result = run_experiment(several, stream, {.keep_outputs = false});
  EXPECT_EQ(stream.told, " logits pool1 measured stream 5 +2 2 +2 4 +1 5");
  EXPECT_EQ(stream.first, plain_outputs("fc1"));
  EXPECT_TRUE(result.outputs.empty());
  Witness once;
  const Session one = session_of(small_experiment(5), array_input(small_input(), input_shape));
  (void)run_experiment(one, once);
  EXPECT_EQ(once.told, " logits pool1 measured +5");
}

TEST(RunExperiment, DropoutSamplesOfAMapFollowEachOther) {
  Network network = small_network();
  network.outputs = {network.add("dropout", "dropout1", Dropout{0.5F})};
  Experiment experiment = small_experiment(2);
  experiment.output.save = {{"fc1", ""}, {"dropout1", ""}};
  experiment.dropout.samples = 3;
  const Session session(experiment, network, small_weights(network), array_input(small_input(), input_shape));
  const RunResult result = run_experiment(session);
  const std::vector<float> whole = plain_outputs("fc1");
  const LayerOutput& fc = output_of(result, "fc1");
  const LayerOutput& dropped = output_of(result, "dropout1");
  EXPECT_EQ(fc.shape, (std::vector<std::int64_t>{3 * images, classes}));
  std::set<std::vector<float>> masked;  // of the first map
  for (std::size_t i = 0; i < fc.values.size(); ++i) {
    const std::size_t map = i / (3 * classes);
    ASSERT_EQ(fc.values[i], whole[map * classes + i % classes]) << i;
    ASSERT_TRUE(dropped.values[i] == 0 || dropped.values[i] == 2 * fc.values[i]) << i;
    if (i % classes == 0 && map == 0) {
      const auto begin = dropped.values.begin() + static_cast<std::ptrdiff_t>(i);
      masked.emplace(begin, begin + classes);
    }
  }
  EXPECT_EQ(masked.size(), 3U) << "every sample draws a mask of its own";
}

TEST(RunExperiment, ProvenanceSaysNothingOfFiles) {
  const Session session = session_of(small_experiment(5), array_input(small_input(), input_shape));
  const RunResult result = run_experiment(session);
  const nlohmann::json& config = result.provenance.at("config");
  EXPECT_FALSE(config.contains("model"));
  EXPECT_FALSE(config.contains("weights"));
  for (const char* const source : {"random", "images", "file"})
    EXPECT_FALSE(config["input"].contains(source));
  EXPECT_EQ(config["streams"], 2);
  EXPECT_EQ(result.provenance.at("weights_hash").get<std::string>().size(), 16U);
  EXPECT_FALSE(session.random_weights());
}

TEST(RunExperiment, VerifiesWhatIsGiven) {
  const Session session = session_of(small_experiment(2), array_input(small_input(), input_shape));
  const Verification verification = verify(session);
  EXPECT_TRUE(verification.equal_bits());
  EXPECT_EQ(verification.images, images);
}

TEST(RunExperiment, RefusesWhatDoesNotFit) {
  const auto problem = [](const auto& action) { return support::message_of<Error>("", action); };
  EXPECT_EQ(problem([] {
              (void)array_input(values("x", {2, 12, 10, 3}), input_shape);
            }),
            "the array given as input: has shape (2, 12, 10, 3); the network takes (N, C, H, W) = (N, 3, 12, "
            "10); it looks like NHWC, where NCHW is expected: pass array.transpose(0, 3, 1, 2) instead");
  NpyArray cut = small_input();
  cut.data.pop_back();
  EXPECT_EQ(problem([&] { (void)array_input(cut, input_shape); }),
            "the array given as input: has 1799 elements, its shape has 1800");
  const Extent2 other{12, 11};
  const ConstMapView maps{dense_geometry(DType::f32, 1, 3, Rect::whole(other), other), nullptr};
  EXPECT_EQ(
      problem([&] { (void)map_input(maps, input_shape); }),
      "the maps given as input: 1 f32 map(s) of 3 channels, 12x11 of 12x11; the network takes whole maps "
      "of 3 channels, 12x10, in f32, bf16 or f16");
  EXPECT_EQ(problem([] { (void)session_of(small_experiment(1), nullptr); }),
            "input: the experiment was made with an input of its own; give that to the session");
  std::map<std::string, NpyArray> arrays = small_arrays();
  arrays["fc1.bias"].data.pop_back();
  EXPECT_EQ(problem([&] { (void)tensors_in_memory(arrays); }),
            "weights in memory: 'fc1.bias' has 5 elements, its shape (6) has 6");
  arrays.erase("fc1.bias");
  EXPECT_EQ(
      problem([&] { (void)Weights::from_file(small_network(), *tensors_in_memory(arrays), {}); }),
      "weights in memory: 'fc1.bias' is missing; shape (6) is expected (weights.rename maps other names)");
}

}  // namespace
}  // namespace halotile
