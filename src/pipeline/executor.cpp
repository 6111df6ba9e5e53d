#include "pipeline/executor.hpp"

#include <array>
#include <chrono>
#include <map>
#include <numeric>
#include <string>

#include "patching/error.hpp"
#include "patching/reassembler.hpp"
#include "pipeline/dropout.hpp"
#include "pipeline/schedule.hpp"
#include "pipeline/steps.hpp"
#include "pipeline/stop.hpp"

namespace halotile {
namespace {

// Output features that a fully connected layer computes as one task. A constant, so that neither the streams
// nor the batch decide how a layer is cut.
constexpr std::int64_t feature_block = 512;

std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

// A map of the whole batch, or of a chunk in its slot.
struct MapStore {
  MapShape shape;  // as it lies in memory
  DType dtype = DType::f32;
  bool whole_batch = true;
  std::size_t offset = 0;  // in the arena; for a chunk's map in its slot
};

struct SpatialStage {
  std::vector<Step> steps;
  std::vector<std::size_t> times;  // index of each step's LayerTime
};

struct VectorStage {
  Step step;
  std::vector<Interval> blocks;  // output features
  std::size_t time = 0;
};

// Where a stream keeps the tile it works on.
struct Scratch {
  std::array<std::size_t, 2> between{};  // bytes of intermediate maps, alternating
  std::size_t packed_in = 0;
  std::size_t packed_out = 0;
  std::size_t operation = 0;
  std::size_t offset = 0;  // in the arena

  [[nodiscard]] std::size_t at_packed_in() const { return offset; }
  [[nodiscard]] std::size_t at_packed_out() const { return at_packed_in() + aligned(packed_in); }
  [[nodiscard]] std::size_t at_between(std::size_t i) const {
    return at_packed_out() + aligned(packed_out) + (i == 0 ? 0 : aligned(between[0]));
  }
  [[nodiscard]] std::size_t at_operation() const { return at_between(1) + aligned(between[1]); }
  [[nodiscard]] std::size_t bytes() const { return at_operation() + aligned(operation) - offset; }
};

struct alignas(64) StreamTimes {
  std::vector<std::int64_t> nanoseconds;  // per LayerTime
};

}  // namespace

class Executor::Program {
 public:
  Program(const Network& network, std::vector<StagePlan> plan, Engine& engine,
          const ExecutorSettings& settings);

  void run();
  void set_dropout(std::int64_t sample, std::span<const std::int64_t> images);
  [[nodiscard]] MapView input() const;
  [[nodiscard]] ConstMapView output(std::size_t layer) const;
  [[nodiscard]] const std::vector<StagePlan>& plan() const { return plan_; }
  [[nodiscard]] MemoryUse memory() const { return {map_bytes_, arena_.bytes() - map_bytes_}; }
  [[nodiscard]] std::vector<LayerTime> times() const;
  [[nodiscard]] std::vector<double> busy_seconds() const;
  void reset_times();

 private:
  // What one step of a tile reads and writes.
  struct Call {
    ConstMapView in;
    MapView out;
  };
  // Tiles that agree in all of this share an operation.
  using OperationKey = std::array<std::int64_t, 18>;

  void lower_stages();
  void plan_maps();
  void make_tasks();
  void plan_scratch_and_allocate();

  [[nodiscard]] std::unique_ptr<Operation> make_operation(const Step& step, const MapGeometry& in,
                                                          const MapGeometry& out);
  Operation* shared_operation(const Task& task, std::size_t call, const Step& step, const MapGeometry& in,
                              const MapGeometry& out);

  // Calls visit(call index, step or null for pack and place, Call) in the order of a tile's work. Used once
  // to prepare operations (the arena is not there yet: views carry offsets as data) and then by every run.
  template <typename Visit>
  void for_each_call(const Task& task, const Visit& visit) const;
  [[nodiscard]] Call vector_call(const Task& task) const;

  [[nodiscard]] MapView map_view(std::size_t map, Interval images, std::int64_t slot) const;
  [[nodiscard]] MapView tile_view(std::size_t map, Rect rect, std::int64_t images, std::size_t at) const;
  [[nodiscard]] std::size_t map_of_layer(std::size_t layer) const;
  std::size_t add_time(const std::string& name, const std::string& kind, double flops);

  static void run_task(void* program, std::size_t index);
  void execute(const Task& task, std::size_t index);

  const Network& network_;
  const std::vector<StagePlan> plan_;
  Engine& engine_;
  const ExecutorSettings settings_;
  DropoutSample dropout_;

  std::vector<SpatialStage> spatial_;
  std::vector<VectorStage> vector_;
  std::vector<MapStore> maps_;  // 0: the input; s + 1: the output of stage s
  Schedule schedule_;
  std::vector<Reassembler> reassemblers_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::map<OperationKey, Operation*> by_key_;
  std::vector<Operation*> calls_;        // all tasks' operations, one after the other
  std::vector<std::size_t> first_call_;  // per task
  std::vector<Scratch> scratch_;         // per stream
  std::size_t slot_bytes_ = 0;
  std::size_t slots_offset_ = 0;
  std::size_t map_bytes_ = 0;
  Buffer arena_;

  std::vector<LayerTime> times_;
  std::size_t pack_time_ = 0;
  std::size_t place_time_ = 0;
  std::vector<StreamTimes> stream_times_;
  std::vector<Event> events_;                     // per task, when awaited
  std::vector<std::unique_ptr<Stream>> streams_;  // last: their threads end first
};

Executor::Program::Program(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                           const ExecutorSettings& settings)
    : network_(network), plan_(std::move(plan)), engine_(engine), settings_(settings) {
  dropout_.seed = settings_.dropout_seed;
  dropout_.images.resize(static_cast<std::size_t>(settings_.batch));
  std::iota(dropout_.images.begin(), dropout_.images.end(), 0);
  lower_stages();
  plan_maps();
  make_tasks();
  plan_scratch_and_allocate();
  stream_times_.resize(static_cast<std::size_t>(settings_.streams));
  reset_times();
  for (int s = 0; s < settings_.streams; ++s) streams_.push_back(engine_.device().make_stream());
}

std::size_t Executor::Program::add_time(const std::string& name, const std::string& kind, double flops) {
  times_.push_back({name, kind, 0, flops * static_cast<double>(settings_.batch)});
  return times_.size() - 1;
}

void Executor::Program::lower_stages() {
  for (const StagePlan& stage : plan_) {
    SpatialStage made;
    made.steps = lower(network_, stage.range().first, stage.range().last, settings_.keep);
    for (const Step& step : made.steps) {
      double flops = 0;
      for (std::size_t l = step.first; l < step.last; ++l) {
        const std::size_t local = l - stage.range().first;
        flops += stage.layers()[local].flops_per_position * static_cast<double>(stage.work(local).computed);
      }
      const Layer& layer = network_.layers[step.layer];
      made.times.push_back(add_time(layer.name, to_string(layer.kind), flops));
    }
    spatial_.push_back(std::move(made));
  }
  for (const Step& step :
       lower(network_, network_.spatial_layers(), network_.layers.size(), settings_.keep)) {
    if (step.copy) continue;  // flatten alone: the output is the map under another name
    const Layer& layer = network_.layers[step.layer];
    double flops = 0;
    for (std::size_t l = step.first; l < step.last; ++l) flops += network_.layers[l].flops;
    VectorStage made{step, {}, add_time(layer.name, to_string(layer.kind), flops)};
    const std::int64_t features = layer.out.channels;
    const std::int64_t block = layer.kind == LayerKind::fully_connected ? feature_block : features;
    for (std::int64_t begin = 0; begin < features; begin += block) {
      made.blocks.push_back({begin, std::min(features, begin + block)});
    }
    vector_.push_back(std::move(made));
  }
  if (settings_.storage == Storage::packed) {
    pack_time_ = add_time("pack", "pack", 0);
    place_time_ = add_time("place", "place", 0);
  }
}

void Executor::Program::plan_maps() {
  const DType type = engine_.map_type();
  maps_.push_back({network_.input, type, true, 0});
  for (std::size_t s = 0; s < spatial_.size(); ++s) {
    const std::size_t last = plan_[s].range().last - 1;
    const bool whole = s + 1 == spatial_.size() || settings_.keep.contains(last);
    maps_.push_back({network_.layers[last].memory, type, whole, 0});
  }
  for (std::size_t v = 0; v < vector_.size(); ++v) {
    bool feeds_fully_connected = false;
    for (std::size_t w = v + 1; w < vector_.size(); ++w) {
      feeds_fully_connected |= network_.layers[vector_[w].step.layer].kind == LayerKind::fully_connected;
    }
    maps_.push_back(
        {network_.layers[vector_[v].step.layer].memory, feeds_fully_connected ? type : DType::f32, true, 0});
  }

  std::size_t offset = 0;
  std::array<std::size_t, 2> halves{};
  const std::int64_t sub_batch = settings_.sub_batch;
  for (std::size_t m = 0; m < maps_.size(); ++m) {
    MapStore& map = maps_[m];
    const std::int64_t images = map.whole_batch ? settings_.batch : sub_batch;
    const std::int64_t bytes =
        checked_multiply(checked_multiply(map.shape.elements(), size_of(map.dtype), "the bytes of a map"),
                         images, "the bytes of a map");
    if (map.whole_batch) {
      map.offset = offset;
      offset += aligned(static_cast<std::size_t>(bytes));
    } else {
      halves[m % 2] = std::max(halves[m % 2], aligned(static_cast<std::size_t>(bytes)));
    }
  }
  for (std::size_t m = 0; m < maps_.size(); ++m) {
    if (!maps_[m].whole_batch) maps_[m].offset = m % 2 == 0 ? 0 : halves[0];
  }
  slots_offset_ = offset;
  slot_bytes_ = halves[0] + halves[1];
}

void Executor::Program::make_tasks() {
  ScheduleRequest request;
  request.stages = plan_;
  for (std::size_t s = 0; s < plan_.size(); ++s)
    request.whole_batch_output.push_back(maps_[s + 1].whole_batch);
  for (const VectorStage& v : vector_)
    request.vector_blocks.push_back(static_cast<std::int64_t>(v.blocks.size()));
  request.batch = settings_.batch;
  request.sub_batch = settings_.sub_batch;
  request.streams = settings_.streams;
  schedule_ = make_schedule(request);
  map_bytes_ = slots_offset_ + slot_bytes_ * static_cast<std::size_t>(schedule_.slots);
  events_.resize(schedule_.tasks.size());
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    reassemblers_.emplace_back(plan_[s], static_cast<std::int64_t>(s), settings_.batch);
  }
}

void Executor::Program::plan_scratch_and_allocate() {
  scratch_.resize(static_cast<std::size_t>(settings_.streams));
  const auto bytes = [](const MapGeometry& g) {
    return static_cast<std::size_t>(g.elements() * size_of(g.dtype));
  };
  for (const Task& task : schedule_.tasks) {
    Scratch& scratch = scratch_[static_cast<std::size_t>(task.stream)];
    first_call_.push_back(calls_.size());
    if (static_cast<std::size_t>(task.stage) >= spatial_.size()) {
      const Step& step = vector_[static_cast<std::size_t>(task.stage) - spatial_.size()].step;
      const Call call = vector_call(task);
      calls_.push_back(shared_operation(task, static_cast<std::size_t>(task.row), step, call.in, call.out));
      scratch.operation = std::max(scratch.operation, calls_.back()->scratch_bytes());
      continue;
    }
    const SpatialStage& stage = spatial_[static_cast<std::size_t>(task.stage)];
    const std::size_t steps = stage.steps.size();
    for_each_call(task, [&](std::size_t call, const Step* step, const Call& views) {
      static constexpr Step copy{0, 0, 0, false, true};
      Operation* operation = nullptr;
      if (!views.out.rect.empty()) {
        operation = shared_operation(task, call, step != nullptr ? *step : copy, views.in, views.out);
        scratch.operation = std::max(scratch.operation, operation->scratch_bytes());
      }
      calls_.push_back(operation);
      if (step == nullptr && call == 0) {
        scratch.packed_in = std::max(scratch.packed_in, bytes(views.out));
      } else if (step == nullptr) {
        scratch.packed_out = std::max(scratch.packed_out, bytes(views.in));
      } else if (const auto s = static_cast<std::size_t>(step - stage.steps.data()); s + 1 < steps) {
        scratch.between[s % 2] = std::max(scratch.between[s % 2], bytes(views.out));
      }
    });
  }
  std::size_t offset = map_bytes_;
  for (Scratch& s : scratch_) {
    s.offset = offset;
    offset += s.bytes();
  }
  arena_ = engine_.device().allocate(offset);
}

std::unique_ptr<Operation> Executor::Program::make_operation(const Step& step, const MapGeometry& in,
                                                             const MapGeometry& out) {
  if (step.copy) return engine_.copy(in, out);
  const Layer& layer = network_.layers[step.layer];
  switch (layer.kind) {
    case LayerKind::conv: {
      Conv2d conv = layer.conv;
      conv.relu = step.relu;
      return engine_.conv2d(conv, in, out);
    }
    case LayerKind::max_pool:
    case LayerKind::avg_pool:
    case LayerKind::adaptive_avg_pool:
      return engine_.pool2d(layer.pool, in, out);
    case LayerKind::lrn:
      return engine_.lrn(layer.lrn, in, out);
    case LayerKind::relu:
      return engine_.relu(in, out);
    case LayerKind::softmax:
      return engine_.softmax(in, out);
    case LayerKind::dropout:
      return make_dropout(layer, dropout_, engine_);
    case LayerKind::fully_connected:
    case LayerKind::flatten:
      break;
  }
  throw UnsupportedError("layer " + layer.name + " cannot run on a feature map");
}

Operation* Executor::Program::shared_operation(const Task& task, std::size_t call, const Step& step,
                                               const MapGeometry& in, const MapGeometry& out) {
  OperationKey key{task.stream, task.stage, static_cast<std::int64_t>(call), out.images};
  std::size_t at = 4;
  for (const MapGeometry* g : {&in, &out}) {
    for (const std::int64_t part :
         {g->rect.extent().height, g->rect.extent().width, g->image_stride, g->row_stride}) {
      key[at++] = part;
    }
  }
  const bool is_vector = static_cast<std::size_t>(task.stage) >= spatial_.size();
  const Layer& layer = network_.layers[step.layer];
  if (!step.copy && !is_vector && !in.rect.empty()) {
    // Where the tile's input begins relative to what its outputs reach for: the padding on that side.
    key[at++] = in.rect.rows.begin - reach(layer.window.rows(), in.whole.height, out.rect.rows).begin;
    key[at++] = in.rect.cols.begin - reach(layer.window.cols(), in.whole.width, out.rect.cols).begin;
  }
  Operation*& found = by_key_[key];
  if (found == nullptr) {
    if (is_vector && layer.kind == LayerKind::fully_connected) {
      FullyConnected fc = layer.fully_connected;
      fc.relu = step.relu;
      const VectorStage& stage = vector_[static_cast<std::size_t>(task.stage) - spatial_.size()];
      operations_.push_back(
          engine_.fully_connected(fc, stage.blocks[static_cast<std::size_t>(task.row)], in, out));
    } else {
      operations_.push_back(make_operation(step, in, out));
    }
    found = operations_.back().get();
  }
  return found;
}

MapView Executor::Program::map_view(std::size_t map, Interval images, std::int64_t slot) const {
  const MapStore& store = maps_[map];
  MapView view;
  static_cast<MapGeometry&>(view) = dense_geometry(store.dtype, images.size(), store.shape.channels,
                                                   Rect::whole(store.shape.extent), store.shape.extent);
  std::size_t offset = store.offset;
  if (store.whole_batch) {
    offset += static_cast<std::size_t>(images.begin * view.image_stride * size_of(store.dtype));
  } else {
    offset += slots_offset_ + slot_bytes_ * static_cast<std::size_t>(slot);
  }
  if (arena_.data() != nullptr) view.data = arena_.data() + offset;
  return view;
}

MapView Executor::Program::tile_view(std::size_t layer, Rect rect, std::int64_t images,
                                     std::size_t at) const {
  const MapShape& shape = layer == 0 ? network_.input : network_.layers[layer - 1].out;
  MapView view{dense_geometry(engine_.map_type(), images, shape.channels, rect, shape.extent), nullptr};
  if (arena_.data() != nullptr) view.data = arena_.data() + at;
  return view;
}

template <typename Visit>
void Executor::Program::for_each_call(const Task& task, const Visit& visit) const {
  const auto s = static_cast<std::size_t>(task.stage);
  const StagePlan& plan = plan_[s];
  const SpatialStage& stage = spatial_[s];
  const Scratch& scratch = scratch_[static_cast<std::size_t>(task.stream)];
  const Interval images = schedule_.chunks[static_cast<std::size_t>(task.chunk)];
  const Interval chunk{0, images.size()};
  const std::int64_t slot = task.chunk % schedule_.slots;
  const bool packed = settings_.storage == Storage::packed;
  const std::size_t first = plan.range().first;
  const Rect core = plan.core(task.row, task.column);

  const MapView whole_in = map_view(s, images, slot);
  const MapView core_out = subview(map_view(s + 1, images, slot), chunk, core);
  std::size_t call = 0;

  ConstMapView in;
  if (packed) {
    const Rect need = plan.needed(task.row, task.column, 0);
    const MapView tile = tile_view(first, need, images.size(), scratch.at_packed_in());
    visit(call++, nullptr, Call{subview(ConstMapView(whole_in), chunk, need), tile});
    in = tile;
  } else {
    in = subview(ConstMapView(whole_in), chunk, seen_input(plan, task.row, task.column));
  }
  for (std::size_t i = 0; i < stage.steps.size(); ++i) {
    const Step& step = stage.steps[i];
    const bool last = i + 1 == stage.steps.size();
    MapView out;
    if (!last) {
      const Rect rect = plan.needed(task.row, task.column, step.last - first);
      out = tile_view(step.last, rect, images.size(), scratch.at_between(i % 2));
    } else if (packed) {
      out = tile_view(step.last, core, images.size(), scratch.at_packed_out());
    } else {
      out = core_out;
    }
    visit(call++, &step, Call{in, out});
    in = out;
  }
  if (packed) visit(call++, nullptr, Call{in, core_out});
}

Executor::Program::Call Executor::Program::vector_call(const Task& task) const {
  const auto stage = static_cast<std::size_t>(task.stage);
  const Interval all{0, settings_.batch};
  const auto as_vectors = [](MapView view) {
    view.channels = view.image_stride;
    view.whole = {1, 1};
    view.rect = Rect::whole(view.whole);
    view.row_stride = view.col_stride = view.channels;
    return view;
  };
  const MapView in = as_vectors(map_view(stage, all, 0));
  MapView out = as_vectors(map_view(stage + 1, all, 0));
  const Interval block = vector_[stage - spatial_.size()].blocks[static_cast<std::size_t>(task.row)];
  if (out.data != nullptr) out.data = static_cast<std::byte*>(out.data) + block.begin * size_of(out.dtype);
  out.channels = out.row_stride = out.col_stride = block.size();
  return {in, out};
}

void Executor::Program::set_dropout(std::int64_t sample, std::span<const std::int64_t> images) {
  if (static_cast<std::int64_t>(images.size()) != settings_.batch) {
    throw ShapeError("dropout: " + std::to_string(images.size()) + " image numbers for a batch of " +
                     std::to_string(settings_.batch));
  }
  dropout_.sample = sample;
  std::copy(images.begin(), images.end(), dropout_.images.begin());
}

void Executor::Program::run() {
  if (settings_.poison) {
    // All but the input.
    const MapStore& in = maps_[0];
    const auto input_bytes =
        static_cast<std::size_t>(in.shape.elements() * size_of(in.dtype) * settings_.batch);
    engine_.device().poison(arena_, aligned(input_bytes));
  }
  for (Reassembler& r : reassemblers_) r.reset();
  for (std::size_t i = 0; i < schedule_.tasks.size(); ++i) {
    const Task& task = schedule_.tasks[i];
    Stream& stream = *streams_[static_cast<std::size_t>(task.stream)];
    for (const std::uint32_t wait : schedule_.waits_of(task)) stream.wait(events_[wait]);
    stream.submit({&Program::run_task, this, i});
    if (task.awaited) events_[i] = stream.record();
  }
  std::exception_ptr failure;
  for (const auto& stream : streams_) {
    try {
      stream->synchronize();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
  for (const Reassembler& r : reassemblers_) r.finish();
}

void Executor::Program::run_task(void* program, std::size_t index) {
  auto& self = *static_cast<Program*>(program);
  throw_if_stopped();
  self.execute(self.schedule_.tasks[index], index);
}

void Executor::Program::execute(const Task& task, std::size_t index) {
  using Clock = std::chrono::steady_clock;
  const auto stream = static_cast<std::size_t>(task.stream);
  const Scratch& scratch = scratch_[stream];
  std::vector<std::int64_t>& spent = stream_times_[stream].nanoseconds;
  const std::int64_t first_image = static_cast<std::size_t>(task.stage) < spatial_.size()
                                       ? schedule_.chunks[static_cast<std::size_t>(task.chunk)].begin
                                       : 0;
  const RunContext context{
      *streams_[stream], {arena_.data() + scratch.at_operation(), scratch.operation}, first_image};
  Clock::time_point start = Clock::now();
  const auto timed = [&](std::size_t time, Operation* operation, const Call& call) {
    if (operation == nullptr) return;
    operation->run(call.in, call.out, context);
    const Clock::time_point now = Clock::now();
    spent[time] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - start).count();
    start = now;
  };
  const std::size_t first = first_call_[index];
  const auto stage = static_cast<std::size_t>(task.stage);
  if (stage >= spatial_.size()) {
    timed(vector_[stage - spatial_.size()].time, calls_[first], vector_call(task));
    return;
  }
  for_each_call(task, [&](std::size_t call, const Step* step, const Call& views) {
    const std::size_t time =
        step != nullptr ? spatial_[stage].times[static_cast<std::size_t>(step - spatial_[stage].steps.data())]
        : call == 0     ? pack_time_
                        : place_time_;
    timed(time, calls_[first + call], views);
  });
  const Rect core = plan_[stage].core(task.row, task.column);
  const Interval images = schedule_.chunks[static_cast<std::size_t>(task.chunk)];
  for (std::int64_t image = images.begin; image < images.end; ++image) {
    reassemblers_[stage].accept({image, task.stage, task.row, task.column}, core);
  }
}

MapView Executor::Program::input() const { return map_view(0, {0, settings_.batch}, 0); }

std::size_t Executor::Program::map_of_layer(std::size_t layer) const {
  // Identity layers pass on the map before them.
  std::size_t end = layer + 1;
  for (;;) {
    if (end == 0) return 0;
    for (std::size_t s = 0; s < plan_.size(); ++s) {
      if (plan_[s].range().last == end && maps_[s + 1].whole_batch) return s + 1;
    }
    for (std::size_t v = 0; v < vector_.size(); ++v) {
      if (vector_[v].step.last == end || value_end(network_, vector_[v].step) == end) {
        return plan_.size() + v + 1;
      }
    }
    if (!network_.layers[end - 1].identity()) break;
    --end;
  }
  throw ConfigError("the output of layer " + network_.layers[layer].name + " was not kept");
}

ConstMapView Executor::Program::output(std::size_t layer) const {
  return map_view(map_of_layer(layer), {0, settings_.batch}, 0);
}

std::vector<LayerTime> Executor::Program::times() const {
  std::vector<LayerTime> times = times_;
  for (std::size_t t = 0; t < times.size(); ++t) {
    for (const StreamTimes& s : stream_times_)
      times[t].seconds += 1e-9 * static_cast<double>(s.nanoseconds[t]);
  }
  return times;
}

std::vector<double> Executor::Program::busy_seconds() const {
  std::vector<double> busy;
  for (const StreamTimes& s : stream_times_) {
    std::int64_t sum = 0;
    for (const std::int64_t ns : s.nanoseconds) sum += ns;
    busy.push_back(1e-9 * static_cast<double>(sum));
  }
  return busy;
}

void Executor::Program::reset_times() {
  for (StreamTimes& s : stream_times_) s.nanoseconds.assign(times_.size(), 0);
}

Executor::Executor(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                   const ExecutorSettings& settings) {
  ExecutorSettings resolved = settings;
  if (resolved.sub_batch <= 0 || resolved.sub_batch > resolved.batch) resolved.sub_batch = resolved.batch;
  program_ = std::make_unique<Program>(network, std::move(plan), engine, resolved);
}

Executor::~Executor() = default;
MapView Executor::input() const { return program_->input(); }
void Executor::set_dropout(std::int64_t sample, std::span<const std::int64_t> images) {
  program_->set_dropout(sample, images);
}
void Executor::run() { program_->run(); }
ConstMapView Executor::output(std::size_t layer) const { return program_->output(layer); }
const std::vector<StagePlan>& Executor::plan() const { return program_->plan(); }
MemoryUse Executor::memory() const { return program_->memory(); }
std::vector<LayerTime> Executor::times() const { return program_->times(); }
std::vector<double> Executor::busy_seconds() const { return program_->busy_seconds(); }
void Executor::reset_times() { program_->reset_times(); }

}  // namespace halotile
