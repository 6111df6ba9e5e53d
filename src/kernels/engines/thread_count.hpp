// OpenMP's thread count, as oneDNN sees it while it makes and runs primitives.
#pragma once

#include <omp.h>

namespace halotile {

/// Sets it for the calling thread, and the old one again at the end.
class ThreadCount {
 public:
  explicit ThreadCount(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ThreadCount(const ThreadCount&) = delete;
  ThreadCount& operator=(const ThreadCount&) = delete;
  ~ThreadCount() { omp_set_num_threads(before_); }

 private:
  int before_;
};

}  // namespace halotile
