#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "device/device.h"

namespace triptych {

/// What retrieval reaches without learning: a picture is described by the captions of the training pictures that look
/// like it, pixel by pixel.
///
///   scores[i, j]   of picture i and caption j of `set`: the maximum over training pictures t of
///                  overlap(caption j, caption t) * exp(-d(i, t)^2 / s^2)
///
/// d is the Euclidean distance of the pictures at 32 x 32 pixels, s^2 the median of d^2 to the nearest training
/// picture, and overlap the Jaccard index of the captions' words (1 if they are equal): so it can say something of
/// concepts that training never saw, from the words they share with others.
class PixelBaseline {
 public:
  PixelBaseline(std::shared_ptr<const Dataset> training, int threads);
  std::vector<float> scores(std::shared_ptr<const Dataset> set, Device& device) const;

 private:
  int threads_;
  std::vector<float> pixels_;  // [training pictures, 32 * 32 * 3]
  std::vector<std::string> captions_;
};

}  // namespace triptych
