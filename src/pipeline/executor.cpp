// Tiles on streams: what stands behind an Executor but for memory: per_layer.
#include <array>
#include <atomic>
#include <chrono>
#include <string>
#include <utility>

#include "kernels/trace_range.hpp"
#include "patching/error.hpp"
#include "patching/reassembler.hpp"
#include "pipeline/dropout.hpp"
#include "pipeline/executor_program.hpp"
#include "pipeline/host_copies.hpp"
#include "pipeline/map_memory.hpp"
#include "pipeline/packing.hpp"
#include "pipeline/schedule.hpp"
#include "pipeline/steps.hpp"
#include "pipeline/stop.hpp"
#include "pipeline/tile_operations.hpp"

namespace halotile {
namespace {

// Output features that a fully connected layer computes as one task on the CPU. A constant, so that neither
// the streams nor the batch decide how a layer is cut. A device with memory of its own takes all at once.
constexpr std::int64_t feature_block = 512;

struct SpatialStage {
  std::vector<Step> steps;
  std::vector<std::size_t> times;  // index of each step's LayerTime
};

struct VectorStage {
  Step step;
  std::vector<Interval> blocks;  // output features
  std::size_t time = 0;
};

class TileProgram final : public Executor::Program {
 public:
  TileProgram(const Network& network, std::vector<StagePlan> plan, Engine& engine,
              const ExecutorSettings& settings);

  void run(bool profiled) override;
  [[nodiscard]] MapView input() const override;
  void load_input() override;
  void set_dropout(std::int64_t sample, std::span<const std::int64_t> images) override {
    dropout_.choose(sample, images);
  }
  [[nodiscard]] ConstMapView output(std::size_t layer) override;
  [[nodiscard]] ConstMapView device_output(std::size_t layer) const override {
    return map_view(map_of_layer(layer));
  }
  [[nodiscard]] const std::vector<StagePlan>& plan() const override { return plan_; }
  [[nodiscard]] MemoryUse memory() const override { return {map_bytes_, arena_.bytes() - map_bytes_}; }
  [[nodiscard]] const RunTimes& times() const override { return times_; }
  [[nodiscard]] double idle_seconds() const override { return idle_seconds_; }
  void reset_times() override {
    times_.reset();
    idle_seconds_ = 0;
  }

 private:
  // What one step of a tile reads and writes.
  struct Call {
    ConstMapView in;
    MapView out;
  };
  void lower_stages();
  void plan_maps();
  void make_tasks();
  void prepare_operations();
  void allocate();

  // Calls visit(call index, step or null for pack and place, Call) in the order of a tile's work. Used once
  // to prepare operations (memory is not there yet: views have no data) and then by every run.
  template <typename Visit>
  void for_each_call(const Task& task, const Visit& visit) const;
  [[nodiscard]] Call vector_call(const Task& task) const;

  // A map that has memory for the whole batch, or a chunk's part of any map.
  [[nodiscard]] MapView map_view(std::size_t map) const;
  [[nodiscard]] MapView map_view(std::size_t map, std::size_t chunk) const;
  [[nodiscard]] MapView tile_view(std::size_t layer, Rect rect, std::int64_t images, const Scratch& scratch,
                                  std::size_t at) const;
  [[nodiscard]] std::size_t map_of_layer(std::size_t layer) const;
  [[nodiscard]] std::size_t pooled_at(std::size_t map, std::size_t chunk) const {
    return map * schedule_.chunks.size() + chunk;
  }

  void queue_tasks();
  void synchronize();
  static void run_task(void* program, std::size_t index);
  void execute(const Task& task, std::size_t index);
  void execute_tile(const Task& task, std::size_t index);
  // Of its first layer; empty for tasks of no stage.
  [[nodiscard]] std::string stage_name(const Task& task) const {
    const auto stage = static_cast<std::size_t>(task.stage);
    return stage < stage_names_.size() ? stage_names_[stage] : "";
  }
  [[nodiscard]] Stream& stream_of(const Task& task) {
    return *streams_[static_cast<std::size_t>(task.stream)];
  }

  const Network& network_;
  const std::vector<StagePlan> plan_;
  Engine& engine_;
  const ExecutorSettings settings_;
  DropoutSample dropout_;

  std::vector<SpatialStage> spatial_;
  std::vector<VectorStage> vector_;
  std::vector<std::string> stage_names_;
  std::vector<MapStore> maps_;  // 0: the input; s + 1: the output of stage s
  Schedule schedule_;
  std::vector<Reassembler> reassemblers_;
  TileOperations operations_;
  std::vector<Operation*> calls_;        // all tasks' operations, one after the other
  std::vector<std::size_t> first_call_;  // per task
  std::vector<Scratch> scratch_;         // per stream
  std::size_t slot_bytes_ = 0;
  std::size_t slots_offset_ = 0;
  std::size_t map_bytes_ = 0;
  Buffer arena_;

  // Of devices with memory of their own:
  const bool own_memory_;
  std::unique_ptr<PackedTiles> packed_;  // tiles of a stage are cut and placed at once
  std::vector<void*> pooled_;            // per map, per chunk
  std::unique_ptr<HostCopies> host_;
  std::size_t pixels_offset_ = 0;  // of the u8 input in the arena
  std::unique_ptr<Replay> replay_;
  bool ran_ = false;  // work is captured from the second run on: the first loads kernels

  RunTimes times_;
  std::size_t pack_time_ = 0;
  std::size_t place_time_ = 0;
  std::size_t allocation_time_ = 0;
  double idle_seconds_ = 0;
  std::atomic<bool> failed_ = false;              // some task of the run
  std::vector<Event> events_;                     // per task, when awaited
  std::vector<std::unique_ptr<Stream>> streams_;  // last: their threads end first
};

TileProgram::TileProgram(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                         const ExecutorSettings& settings)
    : network_(network),
      plan_(std::move(plan)),
      engine_(engine),
      settings_(settings),
      dropout_(first_sample(settings.dropout_seed, settings.batch)),
      operations_(network, engine, dropout_),
      own_memory_(!engine.device().host_memory()) {
  lower_stages();
  plan_maps();
  make_tasks();
  prepare_operations();
  allocate();
  times_.start(engine_.device(), settings_.streams, calls_.size() + 2 * schedule_.tasks.size());
  for (int s = 0; s < settings_.streams; ++s) streams_.push_back(engine_.device().make_stream());
}

void TileProgram::lower_stages() {
  const auto batch = static_cast<double>(settings_.batch);
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
      made.times.push_back(times_.add_line(layer.name, to_string(layer.kind), flops * batch));
    }
    spatial_.push_back(std::move(made));
    stage_names_.push_back(network_.layers[stage.range().first].name);
  }
  for (const Step& step :
       lower(network_, network_.spatial_layers(), network_.layers.size(), settings_.keep)) {
    if (step.copy) continue;  // flatten alone: the output is the map under another name
    const Layer& layer = network_.layers[step.layer];
    double flops = 0;
    for (std::size_t l = step.first; l < step.last; ++l) flops += network_.layers[l].flops;
    VectorStage made{step, {}, times_.add_line(layer.name, to_string(layer.kind), flops * batch)};
    const std::int64_t features = layer.out.channels;
    const bool in_blocks = layer.kind == LayerKind::fully_connected && !own_memory_;
    const std::int64_t block = in_blocks ? feature_block : features;
    for (std::int64_t begin = 0; begin < features; begin += block) {
      made.blocks.push_back({begin, std::min(features, begin + block)});
    }
    vector_.push_back(std::move(made));
    stage_names_.push_back(layer.name);
  }
  if (settings_.storage == Storage::packed) {
    pack_time_ = times_.add_line("pack", "pack", 0);
    place_time_ = times_.add_line("place", "place", 0);
  }
  if (own_memory_) {
    allocation_time_ = times_.add_line("allocation", "allocation", 0);
  }
}

void TileProgram::plan_maps() {
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
  const MapPlan placed = place_maps(maps_, settings_.batch, settings_.sub_batch);
  pixels_offset_ = slots_offset_ = placed.whole_bytes;
  slot_bytes_ = settings_.memory == MemoryMode::pool ? 0 : placed.slot_bytes;
}

void TileProgram::make_tasks() {
  ScheduleRequest request;
  request.stages = plan_;
  for (std::size_t s = 0; s < plan_.size(); ++s)
    request.whole_batch_output.push_back(maps_[s + 1].whole_batch);
  for (const VectorStage& v : vector_)
    request.vector_blocks.push_back(static_cast<std::int64_t>(v.blocks.size()));
  request.batch = settings_.batch;
  request.sub_batch = settings_.sub_batch;
  request.streams = settings_.streams;
  if (own_memory_) {
    request.upload = !settings_.resident_input;
    request.allocate_in_run = settings_.memory == MemoryMode::pool;
    // Batched copies go between fixed addresses; with a pool each tile is copied on its own.
    if (settings_.storage == Storage::packed && !request.allocate_in_run) {
      packed_ = std::make_unique<PackedTiles>(network_, plan_, engine_.map_type(), settings_.sub_batch);
      request.pack_at_once = true;
    }
    std::set<std::size_t> downloads;
    if (settings_.download) {
      for (const std::size_t layer : settings_.keep) downloads.insert(map_of_layer(layer));
    }
    request.download = !downloads.empty();
    host_ = std::make_unique<HostCopies>(engine_, settings_.pixels, std::move(downloads), times_);
    slots_offset_ += aligned(host_->pixel_bytes(map_view(0)));
  }
  schedule_ = make_schedule(request);
  if (request.allocate_in_run) pooled_.resize(maps_.size() * schedule_.chunks.size());
  map_bytes_ = slots_offset_ + slot_bytes_ * static_cast<std::size_t>(schedule_.slots);
  events_.resize(schedule_.tasks.size());
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    reassemblers_.emplace_back(plan_[s], static_cast<std::int64_t>(s), settings_.batch);
  }
}

void TileProgram::prepare_operations() {
  scratch_.resize(static_cast<std::size_t>(settings_.streams));
  for (const Task& task : schedule_.tasks) {
    Scratch& scratch = scratch_[static_cast<std::size_t>(task.stream)];
    first_call_.push_back(calls_.size());
    if (task.role != TaskRole::tile) continue;
    if (static_cast<std::size_t>(task.stage) >= spatial_.size()) {
      const VectorStage& stage = vector_[static_cast<std::size_t>(task.stage) - spatial_.size()];
      const Call call = vector_call(task);
      calls_.push_back(operations_.on_vectors({task.stream, task.stage, task.row}, stage.step,
                                              stage.blocks[static_cast<std::size_t>(task.row)], call.in,
                                              call.out));
      scratch.operation = std::max(scratch.operation, calls_.back()->scratch_bytes());
      continue;
    }
    const SpatialStage& stage = spatial_[static_cast<std::size_t>(task.stage)];
    const std::size_t steps = stage.steps.size();
    for_each_call(task, [&](std::size_t call, const Step* step, const Call& views) {
      static constexpr Step copy{0, 0, 0, false, true};
      Operation* operation = nullptr;
      if (!views.out.rect.empty()) {
        operation = operations_.on_map({task.stream, task.stage, static_cast<std::int64_t>(call)},
                                       step != nullptr ? *step : copy, views.in, views.out);
        scratch.operation = std::max(scratch.operation, operation->scratch_bytes());
      }
      calls_.push_back(operation);
      if (step == nullptr && call == 0) {
        scratch.packed_in = std::max(scratch.packed_in, bytes_of(views.out));
      } else if (step == nullptr) {
        scratch.packed_out = std::max(scratch.packed_out, bytes_of(views.in));
      } else if (const auto s = static_cast<std::size_t>(step - stage.steps.data()); s + 1 < steps) {
        scratch.between[s % 2] = std::max(scratch.between[s % 2], bytes_of(views.out));
      }
    });
  }
}

void TileProgram::allocate() {
  std::size_t packed_bytes = 0;
  std::size_t scratch_bytes = 0;
  if (packed_ != nullptr) packed_bytes = packed_->slot_bytes() * static_cast<std::size_t>(schedule_.slots);
  if (settings_.memory == MemoryMode::arena) {
    for (const Scratch& s : scratch_) scratch_bytes += s.bytes();
  }
  arena_ = engine_.device().allocate(map_bytes_ + packed_bytes + scratch_bytes);
  std::byte* const packed = arena_.data() + map_bytes_;
  std::byte* scratch = packed + packed_bytes;
  for (Scratch& s : scratch_) {
    if (scratch_bytes > 0) s.base = std::exchange(scratch, scratch + s.bytes());
  }
  if (packed_ != nullptr) {
    packed_->prepare(engine_, schedule_, packed,
                     [this](std::size_t map, std::size_t chunk) { return map_view(map, chunk); });
  }
  if (host_ != nullptr) host_->prepare(map_view(0), arena_.data() + pixels_offset_);
}

MapView TileProgram::map_view(std::size_t map) const {
  const MapStore& store = maps_[map];
  MapView view;
  static_cast<MapGeometry&>(view) = dense_geometry(store.dtype, settings_.batch, store.shape.channels,
                                                   Rect::whole(store.shape.extent), store.shape.extent);
  if (arena_.data() != nullptr) view.data = arena_.data() + store.offset;
  return view;
}

MapView TileProgram::map_view(std::size_t map, std::size_t chunk) const {
  const MapStore& store = maps_[map];
  const Interval images = schedule_.chunks[chunk];
  MapView view = map_view(map);
  if (store.whole_batch) return subview(view, images, view.rect);
  view.images = images.size();
  if (settings_.memory == MemoryMode::pool) {
    view.data = pooled_[pooled_at(map, chunk)];
  } else if (arena_.data() != nullptr) {
    const std::size_t slot = chunk % static_cast<std::size_t>(schedule_.slots);
    view.data = arena_.data() + slots_offset_ + slot_bytes_ * slot + store.offset;
  }
  return view;
}

MapView TileProgram::tile_view(std::size_t layer, Rect rect, std::int64_t images, const Scratch& scratch,
                               std::size_t at) const {
  const MapShape& shape = layer == 0 ? network_.input : network_.layers[layer - 1].out;
  MapView view{dense_geometry(engine_.map_type(), images, shape.channels, rect, shape.extent), nullptr};
  if (scratch.base != nullptr) view.data = scratch.base + at;
  return view;
}

template <typename Visit>
void TileProgram::for_each_call(const Task& task, const Visit& visit) const {
  const auto s = static_cast<std::size_t>(task.stage);
  const StagePlan& plan = plan_[s];
  const SpatialStage& stage = spatial_[s];
  const Scratch& scratch = scratch_[static_cast<std::size_t>(task.stream)];
  const auto chunk = static_cast<std::size_t>(task.chunk);
  const Interval images{0, schedule_.chunks[chunk].size()};
  const bool packed = settings_.storage == Storage::packed && packed_ == nullptr;
  const std::size_t first = plan.range().first;
  const Rect core = plan.core(task.row, task.column);

  const MapView whole_in = map_view(s, chunk);
  const MapView core_out =
      packed_ != nullptr ? packed_->core(task, images.size()) : subview(map_view(s + 1, chunk), images, core);
  std::size_t call = 0;

  ConstMapView in;
  if (packed_ != nullptr) {
    in = packed_->input(task, images.size());
  } else if (packed) {
    const Rect need = plan.needed(task.row, task.column, 0);
    const MapView tile = tile_view(first, need, images.size(), scratch, scratch.at_packed_in());
    visit(call++, nullptr, Call{subview(ConstMapView(whole_in), images, need), tile});
    in = tile;
  } else {
    in = subview(ConstMapView(whole_in), images, seen_input(plan, task.row, task.column));
  }
  for (std::size_t i = 0; i < stage.steps.size(); ++i) {
    const Step& step = stage.steps[i];
    const bool last = i + 1 == stage.steps.size();
    MapView out;
    if (!last) {
      const Rect rect = plan.needed(task.row, task.column, step.last - first);
      out = tile_view(step.last, rect, images.size(), scratch, scratch.at_between(i % 2));
    } else if (packed) {
      out = tile_view(step.last, core, images.size(), scratch, scratch.at_packed_out());
    } else {
      out = core_out;
    }
    visit(call++, &step, Call{in, out});
    in = out;
  }
  if (packed) visit(call++, nullptr, Call{in, core_out});
}

TileProgram::Call TileProgram::vector_call(const Task& task) const {
  const auto stage = static_cast<std::size_t>(task.stage);
  const MapView in = as_vectors(map_view(stage));
  MapView out = as_vectors(map_view(stage + 1));
  const Interval block = vector_[stage - spatial_.size()].blocks[static_cast<std::size_t>(task.row)];
  if (out.data != nullptr) out.data = static_cast<std::byte*>(out.data) + block.begin * size_of(out.dtype);
  out.channels = out.row_stride = out.col_stride = block.size();
  return {in, out};
}

void TileProgram::run(bool profiled) {
  throw_if_stopped();
  if (settings_.poison) {
    // All but the input.
    engine_.device().poison(arena_, aligned(bytes_of(map_view(0))));
  }
  if (host_ != nullptr) host_->begin_run();
  if (settings_.graph && own_memory_ && ran_ && !profiled) {
    if (replay_ == nullptr) {
      for (Reassembler& r : reassemblers_) r.reset();
      replay_ = engine_.device().capture(streams_, [this] { queue_tasks(); });
    }
    replay_->run(*streams_.front());
    synchronize();
  } else {
    if (profiled) times_.begin_profile();
    for (Reassembler& r : reassemblers_) r.reset();
    queue_tasks();
    synchronize();
    if (profiled) times_.end_profile();
  }
  for (const Reassembler& r : reassemblers_) r.finish();
  if (packed_ != nullptr) packed_->finish();
  ran_ = true;
}

void TileProgram::queue_tasks() {
  failed_ = false;
  for (std::size_t i = 0; i < schedule_.tasks.size(); ++i) {
    const Task& task = schedule_.tasks[i];
    Stream& stream = stream_of(task);
    for (const std::uint32_t wait : schedule_.waits_of(task)) stream.wait(events_[wait]);
    stream.submit({&TileProgram::run_task, this, i});
    if (task.awaited) events_[i] = stream.record();
  }
}

void TileProgram::synchronize() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  std::exception_ptr failure;
  for (const auto& stream : streams_) {
    try {
      stream->synchronize();
    } catch (...) {
      if (!failure) failure = std::current_exception();
    }
  }
  idle_seconds_ += std::chrono::duration<double>(Clock::now() - start).count();
  if (!failure) return;
  // What the tasks behind the failure were to give back.
  const auto release = [this](auto*& data) {
    if (data != nullptr) engine_.device().release_in_order(*streams_.front(), std::exchange(data, nullptr));
  };
  for (void*& map : pooled_) release(map);
  for (Scratch& s : scratch_) {
    if (settings_.memory == MemoryMode::pool) release(s.base);
  }
  std::rethrow_exception(failure);
}

void TileProgram::run_task(void* program, std::size_t index) {
  auto& self = *static_cast<TileProgram*>(program);
  if (self.failed_.load(std::memory_order_relaxed)) return;  // it may need what was not done
  try {
    throw_if_stopped();
    const Task& task = self.schedule_.tasks[index];
    const TraceRange range(task.stream, [&] {
      return to_string(task, self.stage_name(task),
                       self.schedule_.chunks[static_cast<std::size_t>(task.chunk)],
                       static_cast<std::size_t>(task.stage) < self.spatial_.size());
    });
    self.execute(task, index);
  } catch (...) {
    self.failed_ = true;
    throw;
  }
}

void TileProgram::execute(const Task& task, std::size_t index) {
  Stream& stream = stream_of(task);
  Device& device = engine_.device();
  const auto stage = static_cast<std::size_t>(task.stage);
  const auto chunk = static_cast<std::size_t>(task.chunk);
  switch (task.role) {
    case TaskRole::tile:
      execute_tile(task, index);
      break;
    case TaskRole::upload:
      host_->upload(schedule_.chunks[chunk], stream, task.stream);
      break;
    case TaskRole::allocate:
      times_.clocked(allocation_time_, task.stream, [&] {
        pooled_[pooled_at(stage + 1, chunk)] =
            device.allocate_in_order(stream, bytes_of(map_view(stage + 1, chunk)));
      });
      break;
    case TaskRole::release:
      times_.clocked(allocation_time_, task.stream, [&] {
        device.release_in_order(stream, std::exchange(pooled_[pooled_at(stage, chunk)], nullptr));
      });
      break;
    case TaskRole::pack:
      times_.timed(pack_time_, task.stream, stream, [&] { packed_->pack(task, stream); });
      break;
    case TaskRole::place:
      times_.timed(place_time_, task.stream, stream, [&] { packed_->place(task, stream); });
      break;
    case TaskRole::download:
      times_.timed(host_->download_line(), task.stream, stream, [&] {
        for (const std::size_t map : host_->downloads()) host_->download(map, map_view(map), stream);
      });
      break;
  }
}

void TileProgram::execute_tile(const Task& task, std::size_t index) {
  Stream& stream = stream_of(task);
  Scratch& scratch = scratch_[static_cast<std::size_t>(task.stream)];
  const bool pool = settings_.memory == MemoryMode::pool && scratch.bytes() > 0;
  if (pool) {
    times_.clocked(allocation_time_, task.stream, [&] {
      scratch.base = static_cast<std::byte*>(engine_.device().allocate_in_order(stream, scratch.bytes()));
    });
  }
  RunContext context{stream, {scratch.base + scratch.at_operation(), scratch.operation}};
  if (static_cast<std::size_t>(task.stage) < spatial_.size())
    context.first_image = schedule_.chunks[static_cast<std::size_t>(task.chunk)].begin;
  const auto timed = [&](std::size_t time, Operation* operation, const Call& call) {
    if (operation == nullptr) return;
    times_.timed(time, task.stream, stream, [&] { operation->run(call.in, call.out, context); });
  };
  const std::size_t first = first_call_[index];
  const auto stage = static_cast<std::size_t>(task.stage);
  if (stage >= spatial_.size()) {
    timed(vector_[stage - spatial_.size()].time, calls_[first], vector_call(task));
  } else {
    for_each_call(task, [&](std::size_t call, const Step* step, const Call& views) {
      const std::size_t time =
          step != nullptr
              ? spatial_[stage].times[static_cast<std::size_t>(step - spatial_[stage].steps.data())]
          : call == 0 ? pack_time_
                      : place_time_;
      timed(time, calls_[first + call], views);
    });
    if (packed_ != nullptr) packed_->arrive(task, stream);
    const Rect core = plan_[stage].core(task.row, task.column);
    const Interval images = schedule_.chunks[static_cast<std::size_t>(task.chunk)];
    for (std::int64_t image = images.begin; image < images.end; ++image) {
      reassemblers_[stage].accept({image, task.stage, task.row, task.column}, core);
    }
  }
  if (pool) {
    times_.clocked(allocation_time_, task.stream,
                   [&] { engine_.device().release_in_order(stream, std::exchange(scratch.base, nullptr)); });
  }
}

MapView TileProgram::input() const { return host_ != nullptr ? host_->input() : map_view(0); }

void TileProgram::load_input() {
  if (host_ == nullptr || !settings_.resident_input) return;
  for (const Interval images : schedule_.chunks) host_->upload(images, *streams_.front(), 0);
  synchronize();
}

std::size_t TileProgram::map_of_layer(std::size_t layer) const {
  for (std::size_t end = layer + 1; end > 0; --end) {
    for (std::size_t s = 0; s < plan_.size(); ++s) {
      if (plan_[s].range().last == end && maps_[s + 1].whole_batch) return s + 1;
    }
    for (std::size_t v = 0; v < vector_.size(); ++v) {
      const Step& step = vector_[v].step;
      if (step.last == end || value_end(network_, step) == end) return plan_.size() + v + 1;
    }
    // Identity layers pass on the map before them.
    if (!network_.layers[end - 1].identity())
      throw ConfigError("the output of layer " + network_.layers[layer].name + " was not kept");
  }
  return 0;
}

ConstMapView TileProgram::output(std::size_t layer) {
  const std::size_t map = map_of_layer(layer);
  const MapView view = map_view(map);
  return host_ != nullptr ? host_->fetch(map, view, *streams_.front()) : view;
}

}  // namespace

std::unique_ptr<Executor::Program> make_tile_program(const Network& network, std::vector<StagePlan> plan,
                                                     Engine& engine, const ExecutorSettings& settings) {
  return std::make_unique<TileProgram>(network, std::move(plan), engine, settings);
}

}  // namespace halotile
