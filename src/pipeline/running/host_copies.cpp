#include "pipeline/running/host_copies.hpp"

#include <utility>

#include "pipeline/running/placement.hpp"

namespace halotile {

HostCopies::HostCopies(Engine& engine, const std::optional<PixelInput>& pixels,
                       std::set<std::size_t> downloads, RunTimes& times)
    : engine_(engine), pixels_(pixels), downloads_(std::move(downloads)), times_(times) {
  upload_line_ = times_.add_line("upload", "host_to_device", 0);
  if (pixels_) normalize_line_ = times_.add_line("normalize", "normalize", 0);
  download_line_ = times_.add_line("download", "device_to_host", 0);
}

std::size_t HostCopies::pixel_bytes(const MapGeometry& input) const {
  return pixels_ ? static_cast<std::size_t>(input.elements()) : 0;
}

void HostCopies::prepare(const MapView& input, std::byte* pixels) {
  device_input_ = input_ = input;
  if (pixels_) {
    input_.dtype = DType::u8;
    device_pixels_ = input_;
    device_pixels_.data = pixels;
    normalize_ = engine_.prepare(Normalize{pixels_->mean, pixels_->stddev}, device_pixels_, device_input_);
  }
  times_.set_bytes(upload_line_, static_cast<double>(bytes_of(input_)));
  input_memory_ = engine_.device().allocate_host(bytes_of(input_));
  input_.data = input_memory_.data();
}

void HostCopies::upload(Interval images, Stream& stream) {
  const MapView from = subview(input_, images, input_.rect);
  const MapView to = subview(pixels_ ? device_pixels_ : device_input_, images, input_.rect);
  engine_.device().upload(stream, to.data, from.data, bytes_of(from));
}

void HostCopies::normalize(Interval images, Stream& stream) {
  normalize_->run(subview(device_pixels_, images, input_.rect), subview(device_input_, images, input_.rect),
                  {stream, {}});
}

void HostCopies::begin_run() {
  for (auto& [number, host] : maps_) host.filled = false;
}

void HostCopies::download(std::size_t number, const MapView& map, Stream& stream) {
  HostMap& host = maps_[number];
  if (host.memory.data() == nullptr) {
    host.memory = engine_.device().allocate_host(bytes_of(map));
    if (downloads_.contains(number)) fetched_ += static_cast<double>(bytes_of(map));
    times_.set_bytes(download_line_, fetched_);
  }
  engine_.device().download(stream, host.memory.data(), map.data, bytes_of(map));
}

MapView HostCopies::fetch(std::size_t number, const MapView& map, Stream& stream) {
  HostMap& host = maps_[number];
  if (!host.filled && !downloads_.contains(number)) {
    download(number, map, stream);
    stream.synchronize();
  }
  host.filled = true;
  MapView view = map;
  view.data = host.memory.data();
  return view;
}

}  // namespace halotile
