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
  const auto index = static_cast<std::uint32_t>(instructions_.size());
  Instruction made{static_cast<std::uint32_t>(pieces_.size()),
                   static_cast<std::uint32_t>(pieces.size()),
                   static_cast<std::uint32_t>(waits_.size()),
                   0,
                   static_cast<std::int32_t>(stream),
                   false,
                   label};
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  order_.add(index, stream, needs, waits_);
  made.waits = static_cast<std::uint32_t>(waits_.size()) - made.first_wait;
  for (const std::uint32_t wait : waits_of(made)) instructions_[wait].awaited = true;
  instructions_.push_back(made);
  return index + 1;
}

void Program::prepare(Engine& engine) {
  for (const auto& work : works_) {
    throw_if_stopped();
    work->prepare(engine);
  }
  events_.resize(instructions_.size());
}

void Program::queue(std::span<const std::unique_ptr<Stream>> streams) {
  failed_ = false;
  streams_ = streams;
  for (std::size_t i = 0; i < instructions_.size(); ++i) {
    const Instruction& instruction = instructions_[i];
    Stream& stream = *streams[static_cast<std::size_t>(instruction.stream)];
    for (const std::uint32_t wait : waits_of(instruction)) stream.wait(events_[wait]);
    stream.submit({&Program::run_instruction, this, i});
    if (instruction.awaited) events_[i] = stream.record();
  }
}

// A plain function, so that queueing allocates nothing.
void Program::run_instruction(void* program, std::size_t index) {
  auto& self = *static_cast<Program*>(program);
  if (self.failed_.load(std::memory_order_relaxed)) return;  // it may need what was not done
  try {
    throw_if_stopped();
    self.run(self.instructions_[index]);
  } catch (...) {
    self.failed_ = true;
    throw;
  }
}

void Program::run(const Instruction& instruction) {
  const TraceRange range(instruction.stream, [&] { return range_of(instruction); });
  for (const Piece& piece : pieces_of(instruction)) run(piece, instruction);
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
