#include "pipeline/running/executor.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/running/lowering.hpp"

namespace halotile {
namespace {

// Output features that a fully connected layer computes as one instruction on the CPU. A constant, so that
// neither the streams nor the batch decide how a layer is cut. A device with memory of its own takes all at
// once.
constexpr std::int64_t feature_block = 512;

void check_settings(const ExecutorSettings& settings, bool own_memory) {
  if (!own_memory && settings.memory != MemoryMode::arena)
    throw UnsupportedError("memory: pool: is for CUDA devices; on the CPU there is memory: arena only");
  const std::string dispatch = settings.batched ? "dispatch: batched: " : "dispatch: graph: ";
  if (!own_memory && (settings.graph || settings.batched)) {
    throw UnsupportedError(dispatch + "is for CUDA devices; on the CPU there is dispatch: streams only");
  }
  if ((settings.graph || settings.batched) && settings.memory != MemoryMode::arena)
    throw UnsupportedError(dispatch + "replays fixed addresses; use memory: arena");
  if (settings.batched && settings.streams > 1)
    throw UnsupportedError(dispatch + "one launch holds the tiles of a stage; use streams: 1");
}

ExecutorSettings resolved(ExecutorSettings settings, bool own_memory) {
  if (settings.sub_batch <= 0 || settings.sub_batch > settings.batch) settings.sub_batch = settings.batch;
  for (std::int64_t& size : settings.first_sub_batches)
    size = std::clamp<std::int64_t>(size, 1, settings.batch);
  check_settings(settings, own_memory);
  return settings;
}

// Chunks of all sizes take turns in the slots.
std::int64_t largest_sub_batch(const ExecutorSettings& settings) {
  std::int64_t largest = settings.sub_batch;
  for (const std::int64_t size : settings.first_sub_batches) largest = std::max(largest, size);
  return largest;
}

}  // namespace

class Executor::State {
 public:
  State(const Network& network, std::vector<StagePlan> plan, Engine& engine,
        const ExecutorSettings& settings);

  void run(bool profiled);
  void load_input();
  [[nodiscard]] MapView input() const { return host_ != nullptr ? host_->input() : maps_->whole(0).view(); }
  [[nodiscard]] ConstMapView output(std::size_t layer);
  [[nodiscard]] ConstMapView device_output(std::size_t layer) const {
    return maps_->whole(map_of_layer(layer)).view();
  }
  [[nodiscard]] StageWork work(std::size_t stage) const;
  [[nodiscard]] MemoryUse memory() const { return {map_bytes_, arena_.bytes() - map_bytes_}; }

  DropoutSample dropout_;
  const std::vector<StagePlan> plan_;
  RunTimes times_;
  double idle_seconds_ = 0;
  Program program_{times_};

 private:
  void lower_stages();
  void lower_vectors();
  void add_other_lines();
  // Where tiles are computed as parts of several; else null.
  [[nodiscard]] std::unique_ptr<MergedStage> merge(std::size_t stage, std::span<const Step> steps);
  void make_maps();
  void make_streams();
  void lower();
  void allocate_and_prepare();
  void prepare_merged();

  // Arithmetic of one image in a step, and what of it is repeated.
  [[nodiscard]] StageWork work_of(const MergedStage* merged, std::size_t stage, std::size_t step,
                                  const Step& layers) const;
  [[nodiscard]] std::size_t map_of_layer(std::size_t layer) const;
  void synchronize();
  void release_leftovers();

  const Network& network_;
  Engine& engine_;
  const bool own_memory_;
  const ExecutorSettings settings_;
  TileOperations operations_;
  std::vector<LoweredStage> stages_;
  std::vector<LoweredVectors> vectors_;
  OtherLines lines_;
  std::vector<Reassembler> reassemblers_;
  Arena arena_;
  std::unique_ptr<RunMaps> maps_;  // 0: the input; s + 1: the output of stage s
  std::size_t map_bytes_ = 0;      // of the arena: input, feature maps, outputs
  std::unique_ptr<Lowering> lowering_;
  Space* borders_ = nullptr;  // that parts keep for each other

  // Of devices with memory of their own:
  Space* pixels_ = nullptr;              // of the u8 input
  std::unique_ptr<PackedTiles> packed_;  // tiles of a stage are cut and placed at once
  std::unique_ptr<HostCopies> host_;
  std::unique_ptr<Replay> replay_;
  bool ran_ = false;  // work is captured from the second run on: the first loads kernels

  std::vector<std::unique_ptr<Stream>> streams_;  // last: their threads end first
};

Executor::State::State(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                       const ExecutorSettings& settings)
    : dropout_(first_sample(settings.dropout_seed, settings.batch)),
      plan_(std::move(plan)),
      network_(network),
      engine_(engine),
      own_memory_(!engine.device().host_memory()),
      settings_(resolved(settings, own_memory_)),
      operations_(network, engine, dropout_) {
  lower_stages();
  lower_vectors();
  add_other_lines();
  make_maps();
  make_streams();
  lower();
  allocate_and_prepare();
}

void Executor::State::lower_stages() {
  const auto batch = static_cast<double>(settings_.batch);
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    const StageRange range = plan_[s].range();
    LoweredStage& made = stages_.emplace_back();
    made.steps =
        halotile::lower(network_, range.first, range.last, settings_.keep, engine_.supports(LrnMaxPool{}));
    made.merged = merge(s, made.steps);
    for (std::size_t i = 0; i < made.steps.size(); ++i) {
      const Step& step = made.steps[i];
      const Layer& layer = network_.layers[step.layer];
      const std::string name = step.lrn ? network_.layers[*step.lrn].name + "+" + layer.name : layer.name;
      const double flops = work_of(made.merged.get(), s, i, step).flops * batch;
      made.lines.push_back(times_.add_line(name, to_string(layer.kind), flops));
    }
    made.name = program_.add_name(network_.layers[range.first].name);
    reassemblers_.emplace_back(plan_[s], static_cast<std::int64_t>(s), settings_.batch);
  }
}

void Executor::State::lower_vectors() {
  const auto batch = static_cast<double>(settings_.batch);
  for (const Step& step :
       halotile::lower(network_, network_.spatial_layers(), network_.layers.size(), settings_.keep)) {
    if (step.copy) continue;  // flatten alone: the output is the map under another name
    const Layer& layer = network_.layers[step.layer];
    double flops = 0;
    for (std::size_t l = step.first; l < step.last; ++l) flops += network_.layers[l].flops;
    LoweredVectors made{step,
                        {},
                        times_.add_line(layer.name, to_string(layer.kind), flops * batch),
                        program_.add_name(layer.name)};
    const std::int64_t features = layer.out.channels;
    const bool in_blocks = layer.kind == LayerKind::fully_connected && !own_memory_;
    const std::int64_t block = in_blocks ? feature_block : features;
    for (std::int64_t begin = 0; begin < features; begin += block)
      made.blocks.push_back({begin, std::min(features, begin + block)});
    vectors_.push_back(std::move(made));
  }
}

void Executor::State::add_other_lines() {
  if (settings_.storage == Storage::packed) {
    lines_.pack = times_.add_line("pack", "pack", 0);
    lines_.place = times_.add_line("place", "place", 0);
  }
  if (std::ranges::any_of(stages_, [](const LoweredStage& stage) { return stage.merged != nullptr; }))
    lines_.borders = times_.add_line("borders", "borders", 0);
  if (own_memory_) lines_.allocation = times_.add_line("allocation", "allocation", 0);
}

std::unique_ptr<MergedStage> Executor::State::merge(std::size_t stage, std::span<const Step> steps) {
  if (!settings_.batched || settings_.storage == Storage::packed || steps.size() < 2) return nullptr;
  std::set<std::int64_t, std::greater<>> sizes;
  for (const Interval chunk : chunks_of(settings_.batch, settings_.sub_batch, settings_.first_sub_batches))
    sizes.insert(chunk.size());
  const std::vector<std::int64_t> images(sizes.begin(), sizes.end());
  const MergedStage::Stage made{network_, plan_[stage], steps, static_cast<std::int64_t>(stage),
                                engine_.map_type()};
  return std::make_unique<MergedStage>(made, operations_, images, settings_.ring_bytes);
}

void Executor::State::make_maps() {
  const DType type = engine_.map_type();
  std::vector<MapStore> maps{{network_.input, type, true}};
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    const std::size_t last = plan_[s].range().last - 1;
    const bool whole = s + 1 == stages_.size() || settings_.keep.contains(last);
    maps.push_back({network_.layers[last].memory, type, whole, s, s + 1});
  }
  for (const LoweredVectors& vectors : vectors_) {
    const std::size_t layer = vectors.step.layer;
    maps.push_back({network_.layers[layer].memory, output_type(network_, layer, type), true});
  }
  std::vector<Interval> chunks = chunks_of(settings_.batch, settings_.sub_batch, settings_.first_sub_batches);
  const auto slots = std::min<std::int64_t>(settings_.streams, static_cast<std::int64_t>(chunks.size()));
  maps_ = std::make_unique<RunMaps>(std::move(maps), settings_.batch, std::move(chunks),
                                    largest_sub_batch(settings_), slots, settings_.memory == MemoryMode::pool,
                                    arena_);
  if (own_memory_) {
    // Batched copies go between fixed addresses; with a pool each tile is copied on its own.
    if (settings_.storage == Storage::packed && settings_.memory != MemoryMode::pool) {
      packed_ =
          std::make_unique<PackedTiles>(network_, plan_, engine_.map_type(), largest_sub_batch(settings_));
    }
    std::set<std::size_t> downloads;
    if (settings_.download) {
      for (const std::size_t layer : settings_.keep) downloads.insert(map_of_layer(layer));
    }
    host_ = std::make_unique<HostCopies>(engine_, settings_.pixels, std::move(downloads), times_);
    pixels_ = &arena_.add(host_->pixel_bytes(maps_->whole(0)));
  }
  map_bytes_ = arena_.bytes();
  engine_.device().check_room(map_bytes_);  // before all that is prepared for them
}

void Executor::State::make_streams() {
  Device& device = engine_.device();
  for (int s = 0; s < settings_.streams; ++s) streams_.push_back(device.make_stream());
  const bool parts =
      std::ranges::any_of(stages_, [](const LoweredStage& stage) { return stage.merged != nullptr; });
  for (int s = 0; s < (parts ? 2 : 0); ++s) streams_.push_back(device.make_background_stream());
}

void Executor::State::lower() {
  if (packed_ != nullptr) {
    const Space& memory = arena_.add(packed_->slot_bytes() * maps_->slots());
    packed_->set_memory(memory, maps_->slots());
  }
  const LoweringInput input{network_,    plan_,  engine_,     settings_,     stages_,       vectors_, lines_,
                            operations_, *maps_, host_.get(), packed_.get(), reassemblers_, streams_};
  lowering_ = std::make_unique<Lowering>(input, arena_, program_);
  lowering_->lower();
  for (const LoweredStage& stage : stages_) {
    if (stage.merged == nullptr) continue;
    lowering_->lane()->bytes = std::max(lowering_->lane()->bytes, stage.merged->lane_bytes());
    if (borders_ == nullptr) borders_ = &arena_.add();
    borders_->bytes += stage.merged->border_bytes();
  }
}

void Executor::State::allocate_and_prepare() {
  arena_.allocate(engine_.device());
  if (packed_ != nullptr) packed_->prepare(engine_, *maps_);
  if (host_ != nullptr) host_->prepare(maps_->whole(0).view(), pixels_->base);
  times_.start(engine_.device(), static_cast<int>(streams_.size()), program_.pieces());
  prepare_merged();
  program_.prepare(engine_);
}

void Executor::State::prepare_merged() {
  std::byte* borders = borders_ != nullptr ? borders_->base : nullptr;
  for (std::size_t s = 0; s < stages_.size(); ++s) {
    MergedStage* const merged = stages_[s].merged.get();
    if (merged == nullptr) continue;
    const MergedStage::Place place{streams_.front().get(), lowering_->lane()->base, borders};
    borders += merged->border_bytes();
    for (std::size_t chunk = 0; chunk < maps_->chunks().size(); ++chunk) {
      for (std::size_t part = 0; part < merged->tiles().inputs.size(); ++part) {
        merged->prepare_part(engine_, part, maps_->of_chunk(s, chunk).view(),
                             maps_->of_chunk(s + 1, chunk).view(), maps_->chunks()[chunk].begin, place);
      }
    }
  }
}

StageWork Executor::State::work_of(const MergedStage* merged, std::size_t stage, std::size_t step,
                                   const Step& layers) const {
  StageWork sum;
  const StagePlan& plan = plan_[stage];
  for (std::size_t l = layers.first; l < layers.last; ++l) {
    const std::size_t local = l - plan.range().first;
    const LayerWork work = plan.work(local);
    const auto distinct = static_cast<double>(work.distinct);
    const double computed =
        merged != nullptr ? merged->repeats(step) * distinct : static_cast<double>(work.computed);
    sum.flops += plan.layers()[local].flops_per_position * computed;
    sum.recomputed_flops += plan.layers()[local].flops_per_position * (computed - distinct);
  }
  return sum;
}

StageWork Executor::State::work(std::size_t stage) const {
  StageWork sum;
  const LoweredStage& lowered = stages_[stage];
  for (std::size_t step = 0; step < lowered.steps.size(); ++step) {
    const StageWork work = work_of(lowered.merged.get(), stage, step, lowered.steps[step]);
    sum.flops += work.flops;
    sum.recomputed_flops += work.recomputed_flops;
  }
  return sum;
}

void Executor::State::run(bool profiled) {
  throw_if_stopped();
  if (settings_.poison) {
    // All but the input.
    engine_.device().poison(arena_.memory(), aligned(bytes_of(maps_->whole(0))));
  }
  if (host_ != nullptr) host_->begin_run();
  const bool replayed = settings_.graph && own_memory_ && ran_ && !profiled;
  if (!replayed || replay_ == nullptr) {
    for (Reassembler& r : reassemblers_) r.reset();
  }
  if (replayed) {
    // What is captured holds the tiles that are counted in here, and cannot change; tiles that move by their
    // key are counted by the device in every replay.
    if (replay_ == nullptr)
      replay_ = engine_.device().capture(streams_, [this] { program_.queue(streams_); });
    replay_->run(*streams_.front());
    synchronize();
  } else {
    if (profiled) times_.begin_profile();
    program_.queue(streams_);
    synchronize();
    if (profiled) times_.end_profile();
  }
  for (const Reassembler& r : reassemblers_) r.finish();
  if (packed_ != nullptr) packed_->finish();
  ran_ = true;
}

void Executor::State::synchronize() {
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
  release_leftovers();
  std::rethrow_exception(failure);
}

// What the instructions behind a failure were to give back.
void Executor::State::release_leftovers() {
  const auto release = [this](Space& space) {
    if (space.base == nullptr) return;
    engine_.device().release_in_order(*streams_.front(), std::exchange(space.base, nullptr));
  };
  for (Space& space : maps_->pooled()) release(space);
  for (Space& space : lowering_->pooled()) release(space);
}

void Executor::State::load_input() {
  if (host_ == nullptr || !settings_.resident_input) return;
  Stream& stream = *streams_.front();
  for (const Interval images : maps_->chunks()) {
    host_->upload(images, stream);
    if (host_->normalizes()) host_->normalize(images, stream);
  }
  synchronize();
}

std::size_t Executor::State::map_of_layer(std::size_t layer) const {
  for (std::size_t end = layer + 1; end > 0; --end) {
    for (std::size_t s = 0; s < plan_.size(); ++s) {
      if (plan_[s].range().last == end && (*maps_)[s + 1].whole_batch) return s + 1;
    }
    for (std::size_t v = 0; v < vectors_.size(); ++v) {
      const Step& step = vectors_[v].step;
      if (step.last == end || value_end(network_, step) == end) return plan_.size() + v + 1;
    }
    // Identity layers pass on the map before them.
    if (!network_.layers[end - 1].identity())
      throw ConfigError("the output of layer " + network_.layers[layer].name + " was not kept");
  }
  return 0;
}

ConstMapView Executor::State::output(std::size_t layer) {
  const std::size_t map = map_of_layer(layer);
  const MapView view = maps_->whole(map).view();
  return host_ != nullptr ? host_->fetch(map, view, *streams_.front()) : view;
}

Executor::Executor(const Network& network, std::vector<StagePlan> plan, Engine& engine,
                   const ExecutorSettings& settings)
    : state_(std::make_unique<State>(network, std::move(plan), engine, settings)) {}

Executor::~Executor() = default;
MapView Executor::input() const { return state_->input(); }
void Executor::set_dropout(std::int64_t sample, std::span<const std::int64_t> images) {
  state_->dropout_.choose(sample, images);
}
void Executor::load_input() { state_->load_input(); }
void Executor::run() { state_->run(false); }
void Executor::profile() { state_->run(true); }
ConstMapView Executor::output(std::size_t layer) const { return state_->output(layer); }
ConstMapView Executor::device_output(std::size_t layer) const { return state_->device_output(layer); }
const std::vector<StagePlan>& Executor::plan() const { return state_->plan_; }
const Program& Executor::program() const { return state_->program_; }
StageWork Executor::work(std::size_t stage) const { return state_->work(stage); }
MemoryUse Executor::memory() const { return state_->memory(); }
std::vector<LayerTime> Executor::times() const { return state_->times_.lines(); }
std::vector<double> Executor::busy_seconds() const { return state_->times_.busy_seconds(); }
double Executor::idle_seconds() const { return state_->idle_seconds_; }
void Executor::reset_times() {
  state_->times_.reset();
  state_->idle_seconds_ = 0;
}

}  // namespace halotile
