// Ctrl-C: the wish to stop, and the end of a process that does not get to it in time.
#pragma once

namespace halotile {

inline constexpr int exit_interrupted = 130;

/// Catches SIGINT, SIGTERM and SIGHUP. The first sets stop_requested (stop.hpp), at which work ends by itself
/// and says what it keeps. What has not ended 0.6 seconds later (a library at work, a device that does not
/// answer), or at a second Ctrl-C, is ended: temporary files are removed, the exit status is 130.
void handle_signals();

}  // namespace halotile
