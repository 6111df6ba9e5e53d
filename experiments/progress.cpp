#include "progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace halotile {

Progress::Progress(std::int64_t images, bool several_batches)
    : images_(images),
      shown_(several_batches && ::isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      last_(start_) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (drawn_) std::fputs("\r\x1b[K", stderr);
  drawn_ = false;
}

void Progress::update(std::int64_t done) {
  const Clock::time_point now = Clock::now();
  if (!shown_ || done == 0 || now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  const double left = seconds * static_cast<double>(images_ - done) / static_cast<double>(done);
  fmt::print(stderr, "\r\x1b[K{}/{} images, {:.1f} images/s, {:.0f} s left", done, images_,
             static_cast<double>(done) / seconds, left);
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::note(const std::string& line) {
  clear();
  fmt::print(stderr, "{}\n", line);
}

}  // namespace halotile
