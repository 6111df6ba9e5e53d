#include "pipeline/experiment/predictions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "formats/printable.hpp"
#include "patching/error.hpp"

namespace halotile {
namespace {

constexpr std::size_t top_count = 5;

// Probabilities of one image's classes: softmax(logits), its limit where the largest logits are infinite.
std::vector<double> softmax_of(std::span<const float> logits) {
  const auto largest = static_cast<double>(*std::ranges::max_element(logits));
  std::vector<double> probabilities;
  double sum = 0;
  for (const float logit : logits) {
    const auto x = static_cast<double>(logit);
    probabilities.push_back(x == largest ? 1 : std::exp(x - largest));
    sum += probabilities.back();
  }
  for (double& p : probabilities) p /= sum;
  return probabilities;
}

// Indices of the largest values, the smaller index first among equals. Takes no NaN.
template <typename Value>
std::vector<std::int64_t> largest_of(std::span<const Value> values) {
  const auto key = [&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; };
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t count = std::min(top_count, order.size());
  std::partial_sort(
      order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
      [&](std::int64_t a, std::int64_t b) { return key(a) != key(b) ? key(a) > key(b) : a < b; });
  order.resize(count);
  return order;
}

std::int64_t classes_of(const Network& network) {
  const Value& logits = network.out(network.logits());
  return logits.spatial || logits.shape.channels < 2 ? 0 : logits.shape.channels;
}

}  // namespace

Predictions::Predictions(const Session& session)
    : classes_(classes_of(session.network())), sampled_(session.experiment().dropout.samples > 0) {
  const Network& network = session.network();
  const std::filesystem::path& labels = session.experiment().input.labels;
  // Behind `until` an inner layer's outputs are no classes.
  if (!network.class_names.empty() && network.cut.empty()) {
    if (!wanted()) {
      throw ConfigError(
          fmt::format("class_names: network {} does not end with the outputs of classes; leave "
                      "class_names out of the model file",
                      network.name));
    }
    names_ = read_class_names(network.class_names, classes_);
  }
  if (labels.empty()) return;
  if (!wanted()) {
    throw ConfigError(
        fmt::format("input.labels: network {} does not end with the outputs of classes; leave "
                    "labels out",
                    network.name));
  }
  labels_.emplace(labels, names_, classes_);
  std::vector<std::filesystem::path> images;
  for (std::int64_t i = 0; i < session.input().count(); i += session.input().views())
    images.emplace_back(session.input().name(i));
  unused_labels_ = labels_->without(images);
  if (static_cast<std::int64_t>(unused_labels_.size()) == labels_->size()) {
    throw ConfigError(
        fmt::format("input.labels: {} has a label for none of the {} images; name another file, or "
                    "leave labels out",
                    shown_path(labels), images.size()));
  }
}

std::string Predictions::labels_note() const {
  if (unused_labels_.empty()) return "";
  const Labels::Place& first = unused_labels_.front();
  return fmt::format("{} of the {} labels are of no image of the input, the first in line {}: {}",
                     unused_labels_.size(), labels_->size(), first.line, shown_name(first.file));
}

nlohmann::json Predictions::unused_labels_json() const {
  constexpr std::size_t told = 20;
  nlohmann::json first = nlohmann::json::array();
  for (const Labels::Place& place : std::span(unused_labels_).first(std::min(told, unused_labels_.size())))
    first.push_back({{"line", place.line}, {"file", place.file}});
  return {{"count", unused_labels_.size()}, {"first", first}};
}

void Predictions::add(const std::string& image, std::span<const float> logits, std::int64_t samples,
                      std::int64_t views) {
  Prediction prediction{image, labels_ ? labels_->of(image) : std::nullopt, {}};
  if (std::ranges::any_of(logits, [](float logit) { return std::isnan(logit); })) {
    ++nan_images_;  // no class is the most probable
  } else {
    prediction.top = rank(logits, samples, views);
  }
  if (prediction.label) {
    ++accuracy_.images;
    accuracy_.correct += !prediction.top.empty() && prediction.top[0].index == *prediction.label ? 1 : 0;
    accuracy_.correct_in_top += std::ranges::count(prediction.top, *prediction.label, &RankedClass::index);
  }
  predictions_.push_back(std::move(prediction));
}

std::vector<RankedClass> Predictions::rank(std::span<const float> logits, std::int64_t samples,
                                           std::int64_t views) const {
  const auto classes = static_cast<std::size_t>(classes_);
  std::vector<double> mean(classes);
  std::vector<double> squares(classes);  // sums of squared distances from the mean, by Welford's update
  for (std::int64_t s = 0; s < samples; ++s) {
    std::vector<double> of_sample(classes);
    for (std::int64_t v = 0; v < views; ++v) {
      const std::vector<double> p =
          softmax_of(logits.subspan(static_cast<std::size_t>(s * views + v) * classes, classes));
      for (std::size_t c = 0; c < classes; ++c) of_sample[c] += p[c] / static_cast<double>(views);
    }
    for (std::size_t c = 0; c < classes; ++c) {
      const double before = of_sample[c] - mean[c];
      mean[c] += before / static_cast<double>(s + 1);
      squares[c] += before * (of_sample[c] - mean[c]);
    }
  }
  std::vector<RankedClass> top;
  // One softmax keeps the order of the logits, also where probabilities underflow to 0.
  const std::vector<std::int64_t> order =
      samples * views == 1 ? largest_of(logits) : largest_of(std::span<const double>(mean));
  for (const std::int64_t index : order) {
    const auto c = static_cast<std::size_t>(index);
    top.push_back({index, mean[c], std::sqrt(squares[c] / static_cast<double>(samples))});
  }
  return top;
}

nlohmann::json Predictions::json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Prediction& p : predictions_) {
    nlohmann::json top = nlohmann::json::array();
    for (const RankedClass& r : p.top) {
      nlohmann::json entry{{"class", r.index}, {"probability", r.probability}};
      if (!names_.empty()) entry["name"] = names_[static_cast<std::size_t>(r.index)];
      if (sampled_) entry["deviation"] = r.deviation;
      top.push_back(std::move(entry));
    }
    list.push_back({{"image", p.image}, {"top", std::move(top)}});
    if (p.label) list.back()["label"] = *p.label;
  }
  return list;
}

nlohmann::json Predictions::accuracy_json() const {
  if (accuracy_.images == 0) return nullptr;
  const auto images = static_cast<double>(accuracy_.images);
  return {{"correct", accuracy_.correct},
          {"images", accuracy_.images},
          {"top1", static_cast<double>(accuracy_.correct) / images},
          {"top5", static_cast<double>(accuracy_.correct_in_top) / images}};
}

}  // namespace halotile
