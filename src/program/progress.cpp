#include "program/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "pipeline/experiment/text.hpp"

namespace halotile {

Progress::Progress(std::int64_t total, bool wanted, std::string unit)
    : total_(total),
      unit_(std::move(unit)),
      shown_(wanted && ::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (drawn_) print_error("\r\x1b[K");
  drawn_ = false;
}

void Progress::update(std::int64_t done) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || done == 0 || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double left = seconds * static_cast<double>(total_ - done) / static_cast<double>(done);
  const double rate = static_cast<double>(done) / seconds;
  print_error("\r\x1b[K{}/{} {}, {}{} left", done, total_, unit_,
              rate < 1 ? "" : fmt::format("{:.1f} {}/s, ", rate, unit_), duration_text(left));
  drawn_ = true;
}

void Progress::note(const std::string& line) {
  clear();
  print_note(line);
}

}  // namespace halotile
