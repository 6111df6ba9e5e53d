#include "pipeline/schedule.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <string>

#include "patching/error.hpp"
#include "pipeline/stop.hpp"

namespace halotile {
namespace {

// A tile of a chunk takes about 130 bytes: 4 GiB in all.
constexpr std::int64_t most_tiles = std::int64_t{1} << 25;

void check_number_of_tiles(const ScheduleRequest& request, std::int64_t chunks) {
  std::int64_t tiles = 0;
  for (const StagePlan& stage : request.stages) {
    tiles += checked_multiply(stage.grid().area(), chunks, "the number of tiles");
    if (tiles > most_tiles) {
      throw ShapeError("the tiles of a run are more than " + std::to_string(most_tiles) +
                       "; use larger patches, or a larger sub_batch");
    }
  }
}

// Per stream, one behind the last task of interest; 0 for none. Streams run in order, so the last stands for
// all.
using LastTasks = std::vector<std::uint32_t>;

void raise(LastTasks& to, const LastTasks& by) {
  for (std::size_t s = 0; s < to.size(); ++s) to[s] = std::max(to[s], by[s]);
}

// Who used a piece of memory: with its present content, and with the content before.
struct Use {
  LastTasks present;
  LastTasks before;
};

bool has_parts(const ScheduleRequest& request) {
  return std::ranges::any_of(request.merged, [](const MergedTiles* stage) { return stage != nullptr; });
}

class Scheduler {
 public:
  explicit Scheduler(const ScheduleRequest& request)
      : request_(request),
        asked_(static_cast<std::size_t>(request.streams)),
        streams_(has_parts(request) ? asked_ + 2 : asked_),
        known_(streams_, LastTasks(streams_)),
        last_(streams_) {
    if (request.pack_at_once && request.allocate_in_run) {
      throw std::logic_error("tiles that are packed at once need memory of their slot");
    }
    if (streams_ > asked_ && asked_ > 1) throw std::logic_error("parts of stages go on one stream");
    schedule_.chunks = chunks_of(request.batch, request.sub_batch, request.first_sub_batches);
    check_number_of_tiles(request, static_cast<std::int64_t>(schedule_.chunks.size()));
    schedule_.streams = static_cast<int>(streams_);
    schedule_.slots =
        std::min<std::int64_t>(request.streams, static_cast<std::int64_t>(schedule_.chunks.size()));
    memory_.resize(static_cast<std::size_t>(schedule_.slots));
    for (auto& halves : memory_) halves.fill({LastTasks(streams_), LastTasks(streams_)});
    finished_.resize(static_cast<std::size_t>(schedule_.slots), LastTasks(streams_));
    first_task_.resize(request.stages.size(), std::vector<std::uint32_t>(schedule_.chunks.size()));
  }

  [[nodiscard]] Schedule make() {
    const auto chunks = static_cast<std::int64_t>(schedule_.chunks.size());
    LastTasks done(streams_);  // of the stage before, all chunks
    for (std::int64_t wave = 0; wave < chunks; wave += schedule_.slots) {
      const Interval in_wave{wave, std::min(chunks, wave + schedule_.slots)};
      for (std::size_t s = 0; s < request_.stages.size(); ++s) {
        std::vector<double> load(asked_);
        for (std::int64_t c = in_wave.begin; c < in_wave.end; ++c) {
          add_stage(s, c, load);
          if (s + 1 == request_.stages.size()) raise(done, last_of_stage_);
        }
      }
    }
    if (request_.stages.empty() && request_.upload) {
      for (std::int32_t c = 0; c < chunks; ++c) done[0] = add({0, c}, TaskRole::upload, LastTasks(streams_));
    }
    for (std::size_t v = 0; v < request_.vector_blocks.size(); ++v) done = add_vector_stage(v, done);
    if (request_.download) add({}, TaskRole::download, LastTasks(last_));
    for (const std::uint32_t waited : schedule_.waits) schedule_.tasks[waited].awaited = true;
    return std::move(schedule_);
  }

 private:
  // Tiles of one stage of one chunk.
  void add_stage(std::size_t s, std::int64_t chunk, std::vector<double>& load) {
    const StagePlan& stage = request_.stages[s];
    const Extent2 grid = stage.grid();
    const auto c = static_cast<std::size_t>(chunk);
    const auto images = static_cast<double>(schedule_.chunks[c].size());
    const bool own_memory = request_.allocate_in_run || request_.pack_at_once;  // or ordered by packing
    Use* const written = own_memory || request_.whole_batch_output[s] ? nullptr : &half(chunk, s + 1);
    if (written != nullptr) {
      // New content: whoever used the old one must be done with it.
      written->before = written->present;
      std::fill(written->present.begin(), written->present.end(), 0);
    }
    Use* const read = s == 0 || own_memory || request_.whole_batch_output[s - 1] ? nullptr : &half(chunk, s);
    const LastTasks ready = prepare_stage(s, chunk, lightest_of(load));
    if (s < request_.merged.size() && request_.merged[s] != nullptr) {
      LastTasks needs = ready;
      if (written != nullptr) raise(needs, written->before);
      add_parts(s, chunk, *request_.merged[s], needs);
    }
    first_task_[s][c] = static_cast<std::uint32_t>(schedule_.tasks.size());
    last_of_stage_.assign(streams_, 0);
    for (std::int64_t row = 0; row < grid.height; ++row) {
      throw_if_stopped();
      for (std::int64_t column = 0; column < grid.width; ++column) {
        const std::size_t lightest = lightest_of(load);
        load[lightest] += 1 + stage.flops(row, column) * images;
        LastTasks needs = ready;
        if (s > 0 && !request_.pack_at_once) {
          raise(needs, writers(s - 1, chunk, stage.seen_input(row, column)));
        }
        if (written != nullptr) raise(needs, written->before);
        const std::uint32_t behind = add(
            {static_cast<std::int32_t>(s), static_cast<std::int32_t>(chunk), static_cast<std::int32_t>(row),
             static_cast<std::int32_t>(column), static_cast<std::int32_t>(lightest)},
            TaskRole::tile, needs);
        last_of_stage_[lightest] = behind;
        if (written != nullptr) written->present[lightest] = behind;
        if (read != nullptr) read->present[lightest] = behind;
      }
    }
    finish_stage(s, chunk);
  }

  // Steps of the parts of one stage of one chunk; `needs` is what each part needs besides its input. The
  // tiles come behind them, to be accepted.
  void add_parts(std::size_t s, std::int64_t chunk, const MergedTiles& merged, const LastTasks& needs) {
    const std::size_t computing = 0;
    const std::size_t copying = asked_;
    const std::size_t beginning = asked_ + 1;
    const auto task = [&](std::size_t part, std::size_t step, std::size_t stream) {
      return Task{static_cast<std::int32_t>(s), static_cast<std::int32_t>(chunk),
                  static_cast<std::int32_t>(part), static_cast<std::int32_t>(step),
                  static_cast<std::int32_t>(stream)};
    };
    const auto add_first_needs = [&](LastTasks& waits, std::size_t part) {
      raise(waits, needs);
      if (s > 0) raise(waits, writers(s - 1, chunk, merged.inputs[part]));
    };
    for (std::size_t part = 0; part < merged.inputs.size(); ++part) {
      throw_if_stopped();
      std::vector<std::uint32_t> copies(merged.borders.size());  // per step, of this part
      for (std::size_t step = 0; step < merged.borders.size(); ++step) {
        LastTasks waits(streams_);
        if (step == 0) {
          add_first_needs(waits, part);
          waits[copying] = last_[copying];
          waits[beginning] = last_[beginning];
        } else if (merged.border_waits[step]) {
          waits[copying] = copies[*merged.border_waits[step]];
        }
        // What goes beside a step has its input, and room for its output, behind the step before.
        LastTasks behind(streams_);
        behind[computing] = last_[computing];
        behind[copying] = last_[copying];
        if (merged.borders[step]) copies[step] = add(task(part, step, copying), TaskRole::borders, behind);
        if (step > 0 && step == merged.ahead && part + 1 < merged.inputs.size()) {
          add_first_needs(behind, part + 1);
          add(task(part + 1, 0, beginning), TaskRole::ahead, behind);
        }
        add(task(part, step, computing), TaskRole::step, waits);
      }
    }
  }

  // What comes before a stage's tiles; returns what each of them needs.
  LastTasks prepare_stage(std::size_t s, std::int64_t chunk, std::size_t stream) {
    const Task task{static_cast<std::int32_t>(s), static_cast<std::int32_t>(chunk), 0, 0,
                    static_cast<std::int32_t>(stream)};
    LastTasks ready(streams_);
    if (s == 0 && request_.upload) ready[stream] = add(task, TaskRole::upload, ready);
    if (request_.allocate_in_run && !request_.whole_batch_output[s]) {
      ready[stream] = add(task, TaskRole::allocate, LastTasks(streams_));
    }
    if (request_.pack_at_once) {
      // Behind the stage before; for the first stage, behind the chunk that used the slot before.
      raise(ready, finished_[static_cast<std::size_t>(chunk % schedule_.slots)]);
      ready[stream] = add(task, TaskRole::pack, ready);
    }
    return ready;
  }

  // What comes behind them.
  void finish_stage(std::size_t s, std::int64_t chunk) {
    const Task task{static_cast<std::int32_t>(s), static_cast<std::int32_t>(chunk), 0, 0,
                    schedule_.tasks.back().stream};
    const auto stream = static_cast<std::size_t>(task.stream);
    if (request_.pack_at_once) {
      const std::uint32_t behind = add(task, TaskRole::place, last_of_stage_);
      last_of_stage_.assign(streams_, 0);
      last_of_stage_[stream] = behind;
    }
    LastTasks& finished = finished_[static_cast<std::size_t>(chunk % schedule_.slots)];
    if (request_.allocate_in_run && s > 0 && !request_.whole_batch_output[s - 1]) {
      // Behind its writers too: nobody may have read what one of them wrote.
      LastTasks users = last_of_stage_;
      raise(users, finished);
      add(task, TaskRole::release, users);
    }
    finished = last_of_stage_;
  }

  static std::size_t lightest_of(const std::vector<double>& load) {
    return static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
  }

  LastTasks add_vector_stage(std::size_t v, const LastTasks& done) {
    LastTasks mine(streams_);
    for (std::int64_t block = 0; block < request_.vector_blocks[v]; ++block) {
      const auto stream = static_cast<std::size_t>(block) % asked_;
      mine[stream] = add({static_cast<std::int32_t>(request_.stages.size() + v), 0,
                          static_cast<std::int32_t>(block), 0, static_cast<std::int32_t>(stream)},
                         TaskRole::tile, done);
    }
    return mine;
  }

  // Last tasks of `stage` whose cores meet `rect`.
  [[nodiscard]] LastTasks writers(std::size_t stage, std::int64_t chunk, Rect rect) const {
    LastTasks last(streams_);
    const StagePlan& plan = request_.stages[stage];
    const std::int64_t across = plan.grid().width;
    const auto [rows, cols] = plan.tiles_meeting(rect);
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      for (std::int64_t column = cols.begin; column < cols.end; ++column) {
        const auto task = static_cast<std::uint32_t>(first_task_[stage][static_cast<std::size_t>(chunk)] +
                                                     row * across + column);
        auto& of_stream = last[static_cast<std::size_t>(schedule_.tasks[task].stream)];
        of_stream = std::max(of_stream, task + 1);
      }
    }
    return last;
  }

  // Queues a task behind what it needs; returns its index + 1.
  std::uint32_t add(Task task, TaskRole role, const LastTasks& needs) {
    const auto own = static_cast<std::size_t>(task.stream);
    task.role = role;
    task.first_wait = static_cast<std::uint32_t>(schedule_.waits.size());
    for (std::size_t s = 0; s < streams_; ++s) {
      if (s == own || needs[s] <= known_[own][s]) continue;
      known_[own][s] = needs[s];
      schedule_.waits.push_back(needs[s] - 1);
    }
    task.wait_count = static_cast<std::uint32_t>(schedule_.waits.size()) - task.first_wait;
    schedule_.tasks.push_back(task);
    last_[own] = static_cast<std::uint32_t>(schedule_.tasks.size());
    return last_[own];
  }

  Use& half(std::int64_t chunk, std::size_t stage_parity) {
    return memory_[static_cast<std::size_t>(chunk % schedule_.slots)][stage_parity % 2];
  }

  const ScheduleRequest& request_;
  std::size_t asked_;    // streams asked for
  std::size_t streams_;  // and behind them, if stages are in parts, two for what goes beside their steps
  Schedule schedule_;
  std::vector<LastTasks> known_;                        // what each stream has waited for already
  LastTasks last_;                                      // of all tasks
  std::vector<LastTasks> finished_;                     // per slot: of the stage added last
  std::vector<std::array<Use, 2>> memory_;              // per slot, per half
  std::vector<std::vector<std::uint32_t>> first_task_;  // per stage, per chunk
  LastTasks last_of_stage_;                             // of the chunk added last
};

const char* to_string(TaskRole role) {
  switch (role) {
    case TaskRole::tile:
      return "tile";
    case TaskRole::step:
      return "step";
    case TaskRole::borders:
      return "borders";
    case TaskRole::ahead:
      return "ahead";
    case TaskRole::upload:
      return "upload";
    case TaskRole::allocate:
      return "allocate";
    case TaskRole::pack:
      return "pack";
    case TaskRole::place:
      return "place";
    case TaskRole::release:
      return "release";
    case TaskRole::download:
      return "download";
  }
  return "task";
}

}  // namespace

std::string to_string(const Task& task, const std::string& layer, Interval images, bool spatial) {
  const std::string count = images.size() > 1 ? ", " + std::to_string(images.size()) + " images" : "";
  if (task.role == TaskRole::tile) {
    if (!spatial) return layer + ": block " + std::to_string(task.row);
    return layer + ": " + to_string(TileKey{images.begin, task.stage, task.row, task.column}) + count;
  }
  if (task.role == TaskRole::step || task.role == TaskRole::borders || task.role == TaskRole::ahead) {
    return layer + ": part " + std::to_string(task.row) + ", " + to_string(task.role) + " " +
           std::to_string(task.column) + ", image " + std::to_string(images.begin) + count;
  }
  const std::string role = to_string(task.role);
  if (task.role == TaskRole::download) return role;
  const std::string what = task.role == TaskRole::upload ? role : layer + ": " + role;
  return what + ", image " + std::to_string(images.begin) + count;
}

std::vector<Interval> chunks_of(std::int64_t batch, std::int64_t sub_batch,
                                std::span<const std::int64_t> first_sub_batches) {
  std::vector<Interval> chunks;
  for (std::int64_t begin = 0; begin < batch; begin = chunks.back().end) {
    const std::size_t chunk = chunks.size();
    const std::int64_t size = chunk < first_sub_batches.size() ? first_sub_batches[chunk] : sub_batch;
    chunks.push_back({begin, std::min(batch, begin + size)});
  }
  return chunks;
}

Schedule make_schedule(const ScheduleRequest& request) { return Scheduler(request).make(); }

}  // namespace halotile
