#include "pipeline/experiment/run.hpp"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <numeric>
#include <utility>

#include "patching/error.hpp"
#include "pipeline/experiment/provenance.hpp"
#include "pipeline/measuring/peak_memory.hpp"

namespace halotile {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Run {
 public:
  Run(const Session& session, RunObserver& observer, const RunSettings& settings)
      : session_(session), observer_(observer), settings_(settings), harvest_(session, result_.predictions) {
    result_.predictions = Predictions(session);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  RunResult all() {
    observer_.begin(harvest_.outputs(), result_.predictions.labels_note());
    if (settings_.keep_outputs) result_.outputs.assign(harvest_.outputs().begin(), harvest_.outputs().end());
    const std::vector<std::int64_t> maps = load_first();
    measure(maps);
    if (session_.input().count() <= session_.batch()) {
      for (const SkippedImage& s : result_.skipped) observer_.skipped(s);
      finish_batch(maps);
    } else {
      stream();
    }
    result_.images = harvest_.images();
    result_.peak_memory_bytes = peak_memory();
    result_.provenance = provenance_json(session_);
    return std::move(result_);
  }

 private:
  [[nodiscard]] std::unique_ptr<Prefetcher> prefetch() const {
    const PrefetchSettings settings{session_.batch(), session_.decoders(),
                                    session_.experiment().input.on_error};
    return std::make_unique<Prefetcher>(session_.input(), session_.network().input(), session_.input_type(),
                                        settings);
  }

  Executor& executor_for(std::int64_t maps) {
    if (executor_ == nullptr || maps != made_for_) {
      executor_.reset();  // before the other takes memory
      executor_ = session_.make_executor(maps, harvest_.keep());
      made_for_ = maps;
    }
    return *executor_;
  }

  // The first batch, in the executor; the numbers of its maps.
  std::vector<std::int64_t> load_first() {
    if (session_.input().decodes()) return decode_first();
    // Nothing to decode: no memory to read ahead into either.
    executor_ = first_batch(session_, harvest_.keep());
    made_for_ = session_.batch();
    std::vector<std::int64_t> maps(static_cast<std::size_t>(session_.batch()));
    std::iota(maps.begin(), maps.end(), 0);
    return maps;
  }

  // The same, of the images that can be read. No decoder works behind it, while the batch is timed.
  std::vector<std::int64_t> decode_first() {
    const std::unique_ptr<Prefetcher> source = prefetch();
    const std::span<const std::int64_t> next = source->next();
    std::vector<std::int64_t> maps(next.begin(), next.end());
    result_.skipped = source->skipped();
    if (maps.empty()) {
      throw FormatError(fmt::format("none of the {} images can be read; the first: {}",
                                    result_.skipped.size(), result_.skipped.front().error));
    }
    Executor& executor = executor_for(static_cast<std::int64_t>(maps.size()));
    source->take(executor.input());
    executor.load_input();
    executor.set_dropout(0, maps);
    return maps;
  }

  void measure(std::span<const std::int64_t> maps) {
    result_.batch = static_cast<std::int64_t>(maps.size()) / session_.input().views();
    result_.measured = measure_batch(session_, *executor_);
    observer_.measured([this] { executor_->run(); });
  }

  // Takes the run that was made (of the first dropout sample), then runs the other samples.
  void finish_batch(std::span<const std::int64_t> maps) {
    harvest_.take(*executor_);
    for (int sample = 1; sample < session_.experiment().dropout.samples; ++sample) {
      executor_->set_dropout(sample, maps);
      executor_->run();
      harvest_.take(*executor_);
    }
    harvest_.finish_batch(maps);
    observer_.outputs(harvest_.outputs());
    for (std::size_t i = 0; i < result_.outputs.size(); ++i) {
      const LayerOutput& batch = harvest_.outputs()[i];
      LayerOutput& all = result_.outputs[i];
      all.shape[0] += batch.shape[0];
      all.values.insert(all.values.end(), batch.values.begin(), batch.values.end());
    }
  }

  void stream() {
    const Clock::time_point begin = Clock::now();
    StreamResult& s = result_.stream.emplace();
    observer_.begin_stream(session_.input().count() / session_.input().views());
    const std::unique_ptr<Prefetcher> source = prefetch();
    std::size_t told = 0;
    for (;;) {
      const Clock::time_point waiting = Clock::now();
      const std::span<const std::int64_t> maps = source->next();
      s.wait_seconds += since(waiting);
      for (; told < source->skipped().size(); ++told) observer_.skipped(source->skipped()[told]);
      if (maps.empty()) break;
      Executor& executor = executor_for(static_cast<std::int64_t>(maps.size()));
      source->take(executor.input());
      executor.load_input();
      const Clock::time_point computing = Clock::now();
      executor.set_dropout(0, maps);
      executor.run();
      finish_batch(maps);
      s.compute_seconds += since(computing);
      observer_.progress(harvest_.images() + static_cast<std::int64_t>(told));
    }
    s.images = harvest_.images();
    s.seconds = since(begin);
    s.decode_seconds = source->decode_seconds();
    result_.skipped = source->skipped();
  }

  const Session& session_;
  RunObserver& observer_;
  const RunSettings settings_;
  RunResult result_;
  Harvest harvest_;
  std::unique_ptr<Executor> executor_;
  std::int64_t made_for_ = 0;  // maps
};

}  // namespace

RunResult run_experiment(const Session& session, RunObserver& observer, const RunSettings& settings) {
  return Run(session, observer, settings).all();
}

RunResult run_experiment(const Session& session, const RunSettings& settings) {
  RunObserver nobody;
  return run_experiment(session, nobody, settings);
}

}  // namespace halotile
