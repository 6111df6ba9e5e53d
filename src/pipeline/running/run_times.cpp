#include "pipeline/running/run_times.hpp"

namespace halotile {

std::size_t RunTimes::add_line(const std::string& name, const std::string& kind, double flops, double bytes) {
  lines_.push_back({name, kind, 0, flops, bytes, 0});
  return lines_.size() - 1;
}

void RunTimes::start(Device& device, int streams, std::size_t pieces) {
  device_ = &device;
  on_host_ = device.host_memory();
  by_stream_.resize(static_cast<std::size_t>(streams));
  if (!on_host_) pieces_.resize(pieces);
  reset();
}

void RunTimes::begin_profile() {
  if (on_host_) return;
  if (timeline_ == nullptr) timeline_ = device_->make_timeline(2 * pieces_.size());
  next_ = 0;
  profiling_ = true;
}

void RunTimes::end_profile() {
  if (!profiling_) return;
  profiling_ = false;
  for (std::size_t p = 0; p < next_; ++p) {
    by_stream_[static_cast<std::size_t>(pieces_[p].stream)].add(pieces_[p].line,
                                                                timeline_->seconds(2 * p, 2 * p + 1));
  }
}

std::vector<LayerTime> RunTimes::lines() const {
  std::vector<LayerTime> lines = lines_;
  for (const OfStream& s : by_stream_) {
    for (std::size_t l = 0; l < lines.size(); ++l) {
      lines[l].seconds += s.seconds[l];
      lines[l].launches += s.launches[l];
    }
  }
  return lines;
}

std::vector<double> RunTimes::busy_seconds() const {
  std::vector<double> busy;
  for (const OfStream& s : by_stream_) {
    double sum = 0;
    for (const double seconds : s.seconds) sum += seconds;
    busy.push_back(sum);
  }
  return busy;
}

void RunTimes::reset() {
  for (OfStream& s : by_stream_) {
    s.seconds.assign(lines_.size(), 0);
    s.launches.assign(lines_.size(), 0);
  }
}

}  // namespace halotile
