// Running tiles on streams.
#include "pipeline/tile_program.hpp"

#include <chrono>
#include <utility>

#include "patching/error.hpp"
#include "pipeline/stop.hpp"

namespace halotile {

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
    const TraceRange range(task.stream, [&] { return self.label_of(task); });
    self.execute(task, index);
  } catch (...) {
    self.failed_ = true;
    throw;
  }
}

RangeLabel TileProgram::label_of(const Task& task) const {
  const Interval images = schedule_.chunks[static_cast<std::size_t>(task.chunk)];
  const bool spatial = static_cast<std::size_t>(task.stage) < spatial_.size();
  RangeLabel label{to_string(task, stage_name(task), images, spatial)};
  if (spatial && (task.role == TaskRole::tile || task.role == TaskRole::place)) {
    label.role = task.role == TaskRole::tile ? RangeLabel::Role::tile : RangeLabel::Role::place;
    label.tile = {images.begin, task.stage, task.row, task.column};
    label.images = images.size();
  }
  return label;
}

RangeLabel TileProgram::label_inside(const Task& task, const std::string& name, RangeLabel::Role role) const {
  const Interval images = schedule_.chunks[static_cast<std::size_t>(task.chunk)];
  return {name, role, {images.begin, task.stage, task.row, task.column}, images.size()};
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
    case TaskRole::step:
    case TaskRole::ahead:
      times_.timed(spatial_[stage].times[static_cast<std::size_t>(task.column)], task.stream, stream,
                   [&] { merged_[stage]->run(task, stream); });
      break;
    case TaskRole::borders:
      times_.timed(border_time_, task.stream, stream, [&] { merged_[stage]->run(task, stream); });
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
    if (groups_ != nullptr) {
      groups_->for_each_step(index, [&](std::size_t line, TileStep& step) {
        times_.timed(line, task.stream, stream, [&] { step.run(stream); });
      });
    } else {
      for_each_call(task, scratch, [&](std::size_t call, const Step* step, const Call& views) {
        if (calls_[first + call] == nullptr) return;
        const std::size_t line = time_of(stage, call, step);
        const TraceRange range(task.stream,
                               [&] { return label_inside(task, times_.name(line), RangeLabel::Role::step); });
        timed(line, calls_[first + call], views);
      });
    }
    if (packed_ != nullptr) packed_->arrive(task, stream);
    const StagePlan& plan = plan_[stage];
    const Rect core = plan.core(task.row, task.column);
    const Interval images = schedule_.chunks[static_cast<std::size_t>(task.chunk)];
    const TraceRange range(task.stream,
                           [&] { return label_inside(task, "reassembly", RangeLabel::Role::reassembly); });
    for (std::int64_t image = images.begin; image < images.end; ++image) {
      reassemblers_[stage].accept(plan.key(task.row, task.column, image), core);
    }
  }
  if (pool) {
    times_.clocked(allocation_time_, task.stream,
                   [&] { engine_.device().release_in_order(stream, std::exchange(scratch.base, nullptr)); });
  }
}

std::size_t TileProgram::time_of(std::size_t stage, std::size_t call, const Step* step) const {
  if (step == nullptr) return call == 0 ? pack_time_ : place_time_;
  return spatial_[stage].times[static_cast<std::size_t>(step - spatial_[stage].steps.data())];
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

std::unique_ptr<Executor::Program> make_tile_program(const Network& network, std::vector<StagePlan> plan,
                                                     Engine& engine, const ExecutorSettings& settings) {
  return std::make_unique<TileProgram>(network, std::move(plan), engine, settings);
}

}  // namespace halotile
