#include "pipeline/running/program.hpp"

#include "kernels/devices/stop.hpp"

namespace halotile {

void Program::set_streams(std::size_t streams) { order_ = InstructionOrder(streams); }

std::uint32_t Program::add_name(std::string name) {
  names_.push_back(std::move(name));
  return static_cast<std::uint32_t>(names_.size() - 1);
}

std::uint32_t Program::add(std::size_t stream, const LastWork& needs, std::span<const Piece> pieces,
                           const InstructionLabel& label) {
  const auto index = made_.first + static_cast<std::uint32_t>(made_.instructions.size());
  Instruction made{static_cast<std::uint32_t>(made_.pieces.size()),
                   static_cast<std::uint32_t>(pieces.size()),
                   static_cast<std::uint32_t>(made_.waits.size()),
                   0,
                   static_cast<std::int32_t>(stream),
                   false,
                   label};
  made_.pieces.insert(made_.pieces.end(), pieces.begin(), pieces.end());
  std::vector<std::uint32_t>& waits = made_.waits;
  order_.add(index, stream, needs, waits);
  // Waves before have ended.
  std::erase_if(waits, [this](std::uint32_t wait) { return wait < made_.first; });
  made.waits = static_cast<std::uint32_t>(waits.size()) - made.first_wait;
  for (const std::uint32_t wait : waits_of(made)) made_.instructions[wait - made_.first].awaited = true;
  made_.instructions.push_back(made);
  if (!drain_) pieces_ += pieces.size();
  // Behind it: its work was made for the wave that it is in.
  if (made_.instructions.size() == most_held_) end_wave();
  return index + 1;
}

// The wave is made: it runs when the one before has ended. While the program is made for the first time it is
// only counted.
void Program::end_wave() {
  in_waves_ = true;
  const std::uint32_t next = made_.first + static_cast<std::uint32_t>(made_.instructions.size());
  if (drain_) {
    drain_();
    running_ = std::move(made_);
    queue(running_);
  }
  made_ = Held{this, next};
}

void Program::begin(std::span<const std::unique_ptr<Stream>> streams, std::function<void()> drain) {
  failed_ = false;
  streams_ = streams;
  drain_ = std::move(drain);
  made_ = Held{this};
  order_ = InstructionOrder(order_.streams());
}

void Program::end() {
  end_wave();
  drain_ = nullptr;
}

void Program::prepare(Engine& engine) {
  if (in_waves_) made_ = Held{this};
  for (const auto& work : made_.works) {
    throw_if_stopped();
    work->prepare(engine);
  }
}

void Program::queue(std::span<const std::unique_ptr<Stream>> streams) {
  failed_ = false;
  streams_ = streams;
  queue(made_);
}

void Program::queue(Held& held) {
  held.events.resize(held.instructions.size());
  for (std::size_t i = 0; i < held.instructions.size(); ++i) {
    const Instruction& instruction = held.instructions[i];
    Stream& stream = *streams_[static_cast<std::size_t>(instruction.stream)];
    for (std::uint32_t w = 0; w < instruction.waits; ++w)
      stream.wait(held.events[held.waits[instruction.first_wait + w] - held.first]);
    stream.submit({&Program::run_instruction, &held, i});
    if (instruction.awaited) held.events[i] = stream.record();
  }
}

// A plain function, so that queueing allocates nothing.
void Program::run_instruction(void* held, std::size_t index) {
  const auto& of_run = *static_cast<const Held*>(held);
  Program& self = *of_run.program;
  if (self.failed_.load(std::memory_order_relaxed)) return;  // it may need what was not done
  try {
    throw_if_stopped();
    const Instruction& instruction = of_run.instructions[index];
    self.run(instruction, of_run.pieces_of(instruction));
  } catch (...) {
    self.failed_ = true;
    throw;
  }
}

void Program::run(const Instruction& instruction, std::span<const Piece> pieces) {
  const TraceRange range(instruction.stream, [&] { return range_of(instruction); });
  for (const Piece& piece : pieces) run(piece, instruction);
}

void Program::run(const Piece& piece, const Instruction& instruction) {
  Stream& stream = *streams_[static_cast<std::size_t>(instruction.stream)];
  const auto timed = [&] {
    switch (piece.clock) {
      case PieceClock::none:
        piece.work->run(stream);
        break;
      case PieceClock::stream:
        times_.timed(piece.line, instruction.stream, stream, [&] { piece.work->run(stream); });
        break;
      case PieceClock::host:
        times_.clocked(piece.line, instruction.stream, [&] { piece.work->run(stream); });
        break;
    }
  };
  if (piece.role == RangeLabel::Role::other) {
    timed();
    return;
  }
  const TraceRange range(instruction.stream, [&] {
    const bool step = piece.role == RangeLabel::Role::step;
    return RangeLabel{step ? times_.name(piece.line) : "reassembly", piece.role, piece.key,
                      instruction.label.images};
  });
  timed();
}

RangeLabel Program::range_of(const Instruction& instruction) const {
  const InstructionLabel& label = instruction.label;
  RangeLabel range{text(label)};
  const bool tile = label.kind == InstructionLabel::Kind::tile;
  if (tile || std::string_view(label.what) == "place") {
    range.role = tile ? RangeLabel::Role::tile : RangeLabel::Role::place;
    range.tile = label.key;
    range.images = label.images;
  }
  return range;
}

std::string Program::text(const InstructionLabel& label) const {
  using Kind = InstructionLabel::Kind;
  const std::string what = label.what;
  const std::string images = "image " + std::to_string(label.key.image) +
                             (label.images > 1 ? ", " + std::to_string(label.images) + " images" : "");
  switch (label.kind) {
    case Kind::run:
      return what;
    case Kind::chunk:
      return (names_[label.layer].empty() ? what : names_[label.layer] + ": " + what) + ", " + images;
    case Kind::part:
      return names_[label.layer] + ": part " + std::to_string(label.key.row) + ", " + what + " " +
             std::to_string(label.key.column) + ", " + images;
    case Kind::block:
      return names_[label.layer] + ": block " + std::to_string(label.key.row);
    case Kind::tile:
      break;
  }
  return names_[label.layer] + ": " + to_string(label.key) +
         (label.images > 1 ? ", " + std::to_string(label.images) + " images" : "");
}

}  // namespace halotile
