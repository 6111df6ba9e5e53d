// What a network says of each image: class probabilities, averaged over the image's crops and over dropout
// samples.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "pipeline/experiment/labels.hpp"
#include "pipeline/experiment/session.hpp"

namespace halotile {

struct RankedClass {
  std::int64_t index = 0;
  double probability = 0;  ///< mean over dropout samples of the mean over crops
  double deviation = 0;    ///< over dropout samples, of the population (divided by their number)
};

struct Prediction {
  std::string image;
  std::optional<std::int64_t> label;
  std::vector<RankedClass> top;  ///< at most five, most probable first, the smaller index first among equals;
                                 ///< none where a logit is NaN
};

struct Accuracy {
  std::int64_t images = 0;  ///< those with a label
  std::int64_t correct = 0;
  std::int64_t correct_in_top = 0;  ///< label among the top five
};

/// Turns logits into predictions and counts the right ones.
class Predictions {
 public:
  /// Of a network without classes.
  Predictions() = default;
  /// Reads class names and labels. Throws when they do not fit the network or the images.
  explicit Predictions(const Session& session);

  /// False when the network does not end with the logits of at least two classes.
  [[nodiscard]] bool wanted() const { return classes_ >= 2; }
  /// `logits`: `samples` x `views` x classes of one image.
  void add(const std::string& image, std::span<const float> logits, std::int64_t samples, std::int64_t views);

  [[nodiscard]] nlohmann::json json() const;
  /// Null without labels: {correct, images, top1, top5}.
  [[nodiscard]] nlohmann::json accuracy_json() const;
  /// What to tell of labels that match no image; empty when all do.
  [[nodiscard]] std::string labels_note() const;
  /// {count, first: [{line, file}]}, at most 20 of them.
  [[nodiscard]] nlohmann::json unused_labels_json() const;
  /// Images with a logit that is NaN, in one of their crops or samples; they have no prediction.
  [[nodiscard]] std::int64_t nan_images() const { return nan_images_; }
  [[nodiscard]] std::span<const Prediction> all() const { return predictions_; }
  /// In the order of the network's outputs; empty where classes have numbers only.
  [[nodiscard]] std::span<const std::string> class_names() const { return names_; }
  /// Of the images with labels.
  [[nodiscard]] const Accuracy& accuracy() const { return accuracy_; }

 private:
  [[nodiscard]] std::vector<RankedClass> rank(std::span<const float> logits, std::int64_t samples,
                                              std::int64_t views) const;

  std::int64_t classes_ = 0;
  bool sampled_ = false;
  std::vector<std::string> names_;
  std::optional<Labels> labels_;
  std::vector<Labels::Place> unused_labels_;
  std::vector<Prediction> predictions_;
  Accuracy accuracy_;
  std::int64_t nan_images_ = 0;
};

}  // namespace halotile
