// Everything that handlers call here is safe in signal handlers: atomics, unlink, write, setitimer (a system
// call), _exit.
#include "program/interrupt.hpp"

#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <string_view>

#include "formats/atomic_file.hpp"
#include "kernels/devices/stop.hpp"

namespace halotile {
namespace {

// Longer than a store waits for others when it is to stop (sqlite_database.cpp), and such that the process
// has ended within a second.
constexpr suseconds_t patience_us = 600'000;
constexpr suseconds_t recheck_us = 50'000;

void call_end_after(suseconds_t microseconds) {
  const itimerval timer{{0, 0}, {0, microseconds}};
  setitimer(ITIMER_REAL, &timer, nullptr);
}

void end_at_once(int) {
  if (unstoppable > 0) {
    call_end_after(recheck_us);
    return;
  }
  remove_temporary_files();
  constexpr std::string_view message = "halotile: interrupted; only what was finished is kept\n";
  (void)!::write(STDERR_FILENO, message.data(), message.size());
  ::_exit(exit_interrupted);
}

void on_interrupt(int signal) {
  if (!stop_requested.exchange(true)) {
    call_end_after(patience_us);
  } else if (signal != SIGHUP) {  // of which a terminal that closes may send several
    end_at_once(signal);
  }
}

}  // namespace

void handle_signals() {
  std::signal(SIGALRM, end_at_once);
  std::signal(SIGINT, on_interrupt);
  std::signal(SIGTERM, on_interrupt);
  if (std::signal(SIGHUP, on_interrupt) == SIG_IGN) std::signal(SIGHUP, SIG_IGN);  // nohup
}

}  // namespace halotile
