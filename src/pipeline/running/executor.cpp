#include "pipeline/running/executor.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>
#include <utility>

#include "kernels/devices/stop.hpp"
#include "patching/error.hpp"
#include "pipeline/running/lowering.hpp"
#include "pipeline/running/run_values.hpp"

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
  [[nodiscard]] ConstMapView output(std::size_t node);
  [[nodiscard]] ConstMapView device_output(std::size_t node) const {
    return maps_->whole(map_of_node(node)).view();
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
  [[nodiscard]] std::unique_ptr<MergedStage> merge(std::size_t stage);
  void make_maps();
  void make_streams();
  void lower();
  void allocate_and_prepare();
  void prepare_merged();

  // Arithmetic of one image in a step, and what of it is repeated.
  [[nodiscard]] StageWork work_of(std::size_t stage, std::size_t step) const;
  [[nodiscard]] std::size_t map_of_node(std::size_t node) const { return values_.shown(network_, node + 1); }
  // All tiles of a stage are cut and placed at once. Batched copies go between fixed addresses; with a pool
  // each tile is copied on its own.
  [[nodiscard]] bool packs_at_once() const {
    return own_memory_ && settings_.storage == Storage::packed && settings_.memory != MemoryMode::pool;
  }
  [[nodiscard]] bool has_parts() const {
    return std::ranges::any_of(merged_, [](const auto& merged) { return merged != nullptr; });
  }
  void queue();
  void synchronize();
  void release_leftovers();

  const Network& network_;
  Engine& engine_;
  const bool own_memory_;
  const ExecutorSettings settings_;
  TileOperations operations_;
  std::vector<LoweredStage> stages_;
  std::vector<std::unique_ptr<MergedStage>> merged_;  // per stage
  std::vector<LoweredVectors> vectors_;
  OtherLines lines_;
  std::vector<Reassembler> reassemblers_;
  Arena arena_;
  RunValues values_;
  std::unique_ptr<RunMaps> maps_;
  std::size_t map_bytes_ = 0;  // of the arena: input, feature maps, outputs
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
  const bool lrn_and_pool = engine_.supports(LrnMaxPool{});
  const bool packs_each = settings_.storage == Storage::packed && !packs_at_once();
  for (std::size_t s = 0; s < plan_.size(); ++s) {
    stages_.push_back(lower_stage(network_, plan_[s], lrn_and_pool, packs_each));
    merged_.push_back(merge(s));
    LoweredStage& made = stages_.back();
    for (std::size_t i = 0; i < made.steps.size(); ++i) {
      const Step& step = made.steps[i];
      const bool further_part = step.channels && step.channels->begin > 0;
      made.lines.push_back(further_part
                               ? made.lines.back()
                               : times_.add_line(name_of(network_, step), network_.nodes[step.node].type(),
                                                 work_of(s, i).flops * batch));
    }
    made.name = program_.add_name(network_.nodes[nodes_of(plan_[s]).front()].name);
    reassemblers_.emplace_back(plan_[s], static_cast<std::int64_t>(s), settings_.batch);
  }
}

void Executor::State::lower_vectors() {
  const auto batch = static_cast<double>(settings_.batch);
  std::vector<std::size_t> nodes(network_.nodes.size() - network_.spatial_nodes());
  std::iota(nodes.begin(), nodes.end(), network_.spatial_nodes());
  std::set<std::size_t> kept;
  for (const std::size_t n : settings_.keep) kept.insert(n + 1);
  for (Step& step : halotile::lower(network_, nodes, kept)) {
    const Node& node = network_.nodes[step.node];
    double flops = 0;
    for (const std::size_t n : step.nodes) flops += network_.nodes[n].flops;
    LoweredVectors made{std::move(step)};
    made.line = times_.add_line(node.name, node.type(), flops * batch);
    made.name = program_.add_name(node.name);
    const std::int64_t features = network_.values[made.step.output].shape.channels;
    const bool in_blocks = node.is<FullyConnected>() && !own_memory_;
    const std::int64_t block = in_blocks ? feature_block : features;
    for (std::int64_t begin = 0; begin < features; begin += block)
      made.blocks.push_back({begin, std::min(features, begin + block)});
    vectors_.push_back(std::move(made));
  }
}

void Executor::State::add_other_lines() {
  const bool packed = settings_.storage == Storage::packed;
  const bool places = std::ranges::any_of(stages_, [](const LoweredStage& stage) {
    return std::ranges::find(stage.calls, StageCall::Kind::place, &StageCall::kind) != stage.calls.end();
  });
  if (packed) lines_.pack = times_.add_line("pack", "pack", 0);
  if (packed || places) lines_.place = times_.add_line("place", "place", 0);
  if (has_parts()) lines_.borders = times_.add_line("borders", "borders", 0);
  if (own_memory_) lines_.allocation = times_.add_line("allocation", "allocation", 0);
}

std::unique_ptr<MergedStage> Executor::State::merge(std::size_t stage) {
  const std::vector<Step>& steps = stages_[stage].steps;
  if (!settings_.batched || settings_.storage == Storage::packed || steps.size() < 2) return nullptr;
  if (!stages_[stage].chain()) return nullptr;
  std::set<std::int64_t, std::greater<>> sizes;
  for (const Interval chunk : chunks_of(settings_.batch, settings_.sub_batch, settings_.first_sub_batches))
    sizes.insert(chunk.size());
  const std::vector<std::int64_t> images(sizes.begin(), sizes.end());
  const MergedStage::Stage made{network_, plan_[stage], steps, engine_.map_type()};
  return std::make_unique<MergedStage>(made, operations_, images, settings_.ring_bytes);
}

void Executor::State::make_maps() {
  values_ = connect(network_, plan_, stages_, vectors_, settings_.keep, engine_.map_type());
  std::vector<Interval> chunks = chunks_of(settings_.batch, settings_.sub_batch, settings_.first_sub_batches);
  const auto slots = std::min<std::int64_t>(settings_.streams, static_cast<std::int64_t>(chunks.size()));
  maps_ = std::make_unique<RunMaps>(values_.maps, settings_.batch, std::move(chunks),
                                    largest_sub_batch(settings_), slots, settings_.memory == MemoryMode::pool,
                                    arena_);
  if (own_memory_) {
    if (packs_at_once()) {
      packed_ =
          std::make_unique<PackedTiles>(stages_, plan_, engine_.map_type(), largest_sub_batch(settings_));
    }
    std::set<std::size_t> downloads;
    if (settings_.download) {
      for (const std::size_t node : settings_.keep) downloads.insert(map_of_node(node));
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
  for (int s = 0; s < (has_parts() ? 2 : 0); ++s) streams_.push_back(device.make_background_stream());
}

void Executor::State::lower() {
  if (packed_ != nullptr) {
    const Space& memory = arena_.add(packed_->slot_bytes() * maps_->slots());
    packed_->set_memory(memory, maps_->slots());
  }
  const LoweringInput input{plan_,       engine_, settings_,   stages_,       merged_,       vectors_, lines_,
                            operations_, *maps_,  host_.get(), packed_.get(), reassemblers_, streams_};
  if (!settings_.graph && !settings_.batched && packed_ == nullptr) program_.allow_waves(settings_.wave);
  lowering_ = std::make_unique<Lowering>(input, arena_, program_);
  lowering_->lower();
  for (const auto& merged : merged_) {
    if (merged == nullptr) continue;
    lowering_->lane()->bytes = std::max(lowering_->lane()->bytes, merged->lane_bytes());
    if (borders_ == nullptr) borders_ = &arena_.add();
    borders_->bytes += merged->border_bytes();
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
    MergedStage* const merged = merged_[s].get();
    if (merged == nullptr) continue;
    const MergedStage::Place place{streams_.front().get(), lowering_->lane()->base, borders};
    borders += merged->border_bytes();
    for (std::size_t chunk = 0; chunk < maps_->chunks().size(); ++chunk) {
      for (std::size_t part = 0; part < merged->tiles().inputs.size(); ++part) {
        const MapView in = maps_->of_chunk(stages_[s].inputs.front().map, chunk).view();
        const MapView out = maps_->of_chunk(stages_[s].outputs.front().map, chunk).view();
        merged->prepare_part(engine_, part, in, out, maps_->chunks()[chunk].begin, place);
      }
    }
  }
}

StageWork Executor::State::work_of(std::size_t stage, std::size_t step) const {
  StageWork sum;
  const StagePlan& plan = plan_[stage];
  const MergedStage* const merged = merged_[stage].get();
  for (const std::size_t node : stages_[stage].steps[step].nodes) {
    const std::size_t value = plan.value(node + 1);
    const LayerWork work = plan.value_work(value);
    const auto distinct = static_cast<double>(work.distinct);
    const double computed =
        merged != nullptr ? merged->repeats(step) * distinct : static_cast<double>(work.computed);
    const double flops = plan.graph().values[value].flops_per_position;
    sum.flops += flops * computed;
    sum.recomputed_flops += flops * (computed - distinct);
  }
  return sum;
}

StageWork Executor::State::work(std::size_t stage) const {
  StageWork sum;
  for (std::size_t step = 0; step < stages_[stage].steps.size(); ++step) {
    const StageWork work = work_of(stage, step);
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
    queue();
    synchronize();
    if (profiled) times_.end_profile();
  }
  for (const Reassembler& r : reassemblers_) r.finish();
  if (packed_ != nullptr) packed_->finish();
  ran_ = true;
}

void Executor::State::queue() {
  if (!program_.in_waves()) return program_.queue(streams_);
  program_.begin(streams_, [this] { synchronize(); });
  try {
    lowering_->make_instructions();
    program_.end();
  } catch (...) {
    // The wave that runs must not be taken from under the streams.
    const std::exception_ptr failure = std::current_exception();
    try {
      synchronize();
    } catch (...) {  // the first failure counts
    }
    std::rethrow_exception(failure);
  }
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

ConstMapView Executor::State::output(std::size_t node) {
  const std::size_t map = map_of_node(node);
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
ConstMapView Executor::output(std::size_t node) const { return state_->output(node); }
ConstMapView Executor::device_output(std::size_t node) const { return state_->device_output(node); }
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
