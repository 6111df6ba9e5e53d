// Preparing tiles on streams: steps, maps, the schedule, operations, memory.
#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "patching/error.hpp"
#include "pipeline/running/tile_program.hpp"

namespace halotile {
namespace {

// Output features that a fully connected layer computes as one task on the CPU. A constant, so that neither
// the streams nor the batch decide how a layer is cut. A device with memory of its own takes all at once.
constexpr std::int64_t feature_block = 512;

// Chunks of all sizes take turns in the slots.
std::int64_t largest_sub_batch(const ExecutorSettings& settings) {
  std::int64_t largest = settings.sub_batch;
  for (const std::int64_t size : settings.first_sub_batches) largest = std::max(largest, size);
  return largest;
}

}  // namespace

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
  if (settings_.batched) {
    groups_ = std::make_unique<TileGroups>(spatial_.size(), settings_.ring_bytes);
  }
  plan_maps();
  make_tasks();
  prepare_operations();
  allocate();
  times_.start(engine_.device(), schedule_.streams, calls_.size() + 2 * schedule_.tasks.size());
  Device& device = engine_.device();
  for (int s = 0; s < schedule_.streams; ++s)
    streams_.push_back(s < settings_.streams ? device.make_stream() : device.make_background_stream());
  if (groups_ != nullptr) {
    prepare_groups();
    prepare_merged();
  }
}

std::unique_ptr<MergedStage> TileProgram::merge(std::size_t stage, std::span<const Step> steps) {
  if (!settings_.batched || settings_.storage == Storage::packed || steps.size() < 2) return nullptr;
  std::set<std::int64_t, std::greater<>> sizes;
  for (const Interval chunk : chunks_of(settings_.batch, settings_.sub_batch, settings_.first_sub_batches))
    sizes.insert(chunk.size());
  const std::vector<std::int64_t> images(sizes.begin(), sizes.end());
  const MergedStage::Stage made{network_, plan_[stage], steps, static_cast<std::int64_t>(stage),
                                engine_.map_type()};
  return std::make_unique<MergedStage>(made, operations_, images, settings_.ring_bytes);
}

StageWork TileProgram::work_of(std::size_t stage, std::size_t step) const {
  StageWork sum;
  const StagePlan& plan = plan_[stage];
  const Step& layers = spatial_[stage].steps[step];
  for (std::size_t l = layers.first; l < layers.last; ++l) {
    const std::size_t local = l - plan.range().first;
    const LayerWork work = plan.work(local);
    const auto distinct = static_cast<double>(work.distinct);
    const double computed = merged_[stage] != nullptr ? merged_[stage]->repeats(step) * distinct
                                                      : static_cast<double>(work.computed);
    sum.flops += plan.layers()[local].flops_per_position * computed;
    sum.recomputed_flops += plan.layers()[local].flops_per_position * (computed - distinct);
  }
  return sum;
}

StageWork TileProgram::work(std::size_t stage) const {
  StageWork sum;
  for (std::size_t step = 0; step < spatial_[stage].steps.size(); ++step) {
    const StageWork work = work_of(stage, step);
    sum.flops += work.flops;
    sum.recomputed_flops += work.recomputed_flops;
  }
  return sum;
}

void TileProgram::lower_stages() {
  const auto batch = static_cast<double>(settings_.batch);
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    const StageRange range = plan_[s].range();
    SpatialStage& made = spatial_.emplace_back();
    made.steps = lower(network_, range.first, range.last, settings_.keep, engine_.supports(LrnMaxPool{}));
    merged_.push_back(merge(s, made.steps));
    for (std::size_t i = 0; i < made.steps.size(); ++i) {
      const Step& step = made.steps[i];
      const Layer& layer = network_.layers[step.layer];
      const std::string name = step.lrn ? network_.layers[*step.lrn].name + "+" + layer.name : layer.name;
      made.times.push_back(times_.add_line(name, to_string(layer.kind), work_of(s, i).flops * batch));
    }
    stage_names_.push_back(network_.layers[range.first].name);
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
  if (std::ranges::any_of(merged_, [](const auto& stage) { return stage != nullptr; })) {
    border_time_ = times_.add_line("borders", "borders", 0);
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
    const std::size_t layer = vector_[v].step.layer;
    maps_.push_back({network_.layers[layer].memory, output_type(network_, layer, type), true, 0});
  }
  const MapPlan placed = place_maps(maps_, settings_.batch, largest_sub_batch(settings_));
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
  request.first_sub_batches = settings_.first_sub_batches;
  request.streams = settings_.streams;
  for (const auto& stage : merged_) request.merged.push_back(stage != nullptr ? &stage->tiles() : nullptr);
  if (own_memory_) {
    request.upload = !settings_.resident_input;
    request.allocate_in_run = settings_.memory == MemoryMode::pool;
    // Batched copies go between fixed addresses; with a pool each tile is copied on its own.
    if (settings_.storage == Storage::packed && !request.allocate_in_run) {
      packed_ =
          std::make_unique<PackedTiles>(network_, plan_, engine_.map_type(), largest_sub_batch(settings_));
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
    first_call_.push_back(calls_.size());
    if (task.role != TaskRole::tile) continue;
    Scratch& scratch = scratch_[static_cast<std::size_t>(task.stream)];
    if (static_cast<std::size_t>(task.stage) >= spatial_.size()) {
      const VectorStage& stage = vector_[static_cast<std::size_t>(task.stage) - spatial_.size()];
      const Call call = vector_call(task);
      calls_.push_back(operations_.on_vectors({task.stream, task.stage, task.row}, stage.step,
                                              stage.blocks[static_cast<std::size_t>(task.row)], call.in,
                                              call.out));
      scratch.operation = std::max(scratch.operation, calls_.back()->scratch_bytes());
      continue;
    }
    const auto s = static_cast<std::size_t>(task.stage);
    if (merged_[s] != nullptr) continue;
    const SpatialStage& stage = spatial_[s];
    const std::size_t steps = stage.steps.size();
    Scratch& tile = groups_ != nullptr ? groups_->scratch(s) : scratch;
    for_each_call(task, tile, [&](std::size_t call, const Step* step, const Call& views) {
      static constexpr Step copy{0, 0, 0, false, true};
      Operation* operation = nullptr;
      if (!views.out.rect.empty()) {
        operation = operations_.on_map({task.stream, task.stage, static_cast<std::int64_t>(call)},
                                       step != nullptr ? *step : copy, views.in, views.out);
        tile.operation = std::max(tile.operation, operation->scratch_bytes());
      }
      calls_.push_back(operation);
      if (step == nullptr && call == 0) {
        tile.packed_in = std::max(tile.packed_in, bytes_of(views.out));
      } else if (step == nullptr) {
        tile.packed_out = std::max(tile.packed_out, bytes_of(views.in));
      } else if (const auto i = static_cast<std::size_t>(step - stage.steps.data()); i + 1 < steps) {
        tile.between[i % 2] = std::max(tile.between[i % 2], bytes_of(views.out));
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
  // All stages' tiles that go together work in the same lane; what merged ones keep lies behind it.
  std::size_t lane_bytes = groups_ != nullptr ? groups_->bytes(schedule_) : 0;
  std::size_t border_bytes = 0;
  for (const auto& stage : merged_) {
    if (stage == nullptr) continue;
    lane_bytes = std::max(lane_bytes, stage->lane_bytes());
    border_bytes += stage->border_bytes();
  }
  lane_offset_ = map_bytes_ + packed_bytes + scratch_bytes;
  borders_offset_ = lane_offset_ + lane_bytes;
  arena_ = engine_.device().allocate(borders_offset_ + border_bytes);
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

void TileProgram::prepare_groups() {
  groups_->prepare(
      schedule_, engine_, arena_.data() + lane_offset_,
      [this](std::size_t index, const Scratch& scratch, const TileGroups::Add& add) {
        const Task& task = schedule_.tasks[index];
        const auto stage = static_cast<std::size_t>(task.stage);
        if (merged_[stage] != nullptr) return;
        RunContext context{stream_of(task), {scratch.base + scratch.at_operation(), scratch.operation}};
        context.first_image = schedule_.chunks[static_cast<std::size_t>(task.chunk)].begin;
        for_each_call(task, scratch, [&](std::size_t call, const Step* step, const Call& views) {
          Operation* const operation = calls_[first_call_[index] + call];
          if (operation == nullptr) return;
          add(call, time_of(stage, call, step), {operation, views.in, views.out, context});
        });
      });
}

void TileProgram::prepare_merged() {
  std::byte* borders = arena_.data() + borders_offset_;
  for (std::size_t s = 0; s < merged_.size(); ++s) {
    if (merged_[s] == nullptr) continue;
    const MergedStage::Place place{streams_.front().get(), arena_.data() + lane_offset_, borders};
    borders += merged_[s]->border_bytes();
    for (std::size_t chunk = 0; chunk < schedule_.chunks.size(); ++chunk) {
      for (std::size_t part = 0; part < merged_[s]->tiles().inputs.size(); ++part) {
        merged_[s]->prepare_part(engine_, part, map_view(s, chunk), map_view(s + 1, chunk),
                                 schedule_.chunks[chunk].begin, place);
      }
    }
  }
}

}  // namespace halotile
