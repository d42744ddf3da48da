#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bounding_box.h"
#include "base/rooms.h"

namespace triptych::evaluation {

/// What a model found in an image; boxes in pixels, since COCO's sizes are.
struct Detection {
  BoundingBox box;
  int64_t label = 0;
  double score = 0;
};

/// What is in an image. A crowd is a region of many objects of which none has to be found.
struct TrueObject {
  BoundingBox box;
  int64_t label = 0;
  bool is_crowd = false;
};

/// COCO's ranges of a box's area, in square pixels: all to 1e10, small to 32^2, medium from there to 96^2, large from
/// there. A border belongs to both ranges.
enum class ObjectSize { kAll, kSmall, kMedium, kLarge };

/// Shares, 0 to 1. Nothing where there is no object to find.
struct DetectionScores {
  std::optional<double> ap;     ///< average precision, the mean over the ten IoU thresholds 0.5, 0.55, ..., 0.95
  std::optional<double> ap_50;  ///< at 0.5 alone
  std::optional<double> ap_75;
  std::optional<double> recall;  ///< share of the objects that are found, the mean over the thresholds (COCO's AR 100)
};

/// Mean average precision as COCO defines it (Lin et al. 2014; cocodataset.org/#detection-eval), for boxes, as
/// pycocotools 2 computes it.
///
/// In each image, for each class and threshold, the 100 detections of the class with the best scores are gone through
/// by descending score. Each takes the object of its class that is still free and has the greatest IoU with it, of at
/// least the threshold, and is right; without such an object it is wrong. If only an ignored object remains (a crowd,
/// or a size outside the range asked for), or if it takes none and its own size is outside, it counts as neither. A
/// crowd can be taken again and again, and the IoU with it is the share of the detection that lies in it. Then all
/// images' detections of a class are put by descending score; AP is the mean, over the recalls 0, 0.01, ..., 1, of the
/// best precision at that recall or a greater one. Scores of several classes are means over those that have objects. Of
/// equal scores the one that was added first comes first; of equal IoUs the last object is taken. COCO takes an
/// object's size from its segmentation, this from its box.
///
/// A box that is not proper (`is_proper`) overlaps nothing and has no area; a score that is NaN is the best of all, and
/// that detection is wrong. Detections of a class without objects do not matter.
///
/// Keeps 24 bytes a detection. Not thread-safe. Throws InternalError for no class, a class outside the range, and an
/// object whose box is not proper.
class DetectionCounter {
 public:
  static constexpr std::size_t kMaxDetections = 100;  ///< of one class in one image
  static constexpr std::size_t kNumThresholds = 10;

  explicit DetectionCounter(int64_t num_classes);

  /// One image.
  void add(std::span<const Detection> detections, std::span<const TrueObject> objects);

  int64_t num_images() const { return num_images_; }
  /// Objects of a class to find, crowds not counted.
  int64_t num_objects(int64_t label) const;
  DetectionScores scores(ObjectSize size = ObjectSize::kAll) const;
  DetectionScores class_scores(int64_t label, ObjectSize size = ObjectSize::kAll) const;

  static constexpr std::size_t kNumSizes = 4;

 private:
  /// A detection, and at which thresholds it is right, or does not count, as bits by size range.
  struct Outcome {
    double score = 0;
    std::array<uint16_t, kNumSizes> right{}, uncounted{};
  };
  struct Class {
    std::vector<Outcome> outcomes;
    std::array<int64_t, kNumSizes> num_objects{};
  };
  /// Of one class, by threshold.
  struct Curve {
    std::array<double, kNumThresholds> average_precision{}, recall{};
  };
  static void match(std::span<const Detection> detections, std::span<const TrueObject> objects, Class& found);
  static Curve curve(const Class& found, ObjectSize size);
  static DetectionScores mean_scores(std::span<const Class> classes, ObjectSize size);
  const Class& of_class(int64_t label) const;

  std::vector<Class> classes_;
  int64_t num_images_ = 0;
};

}  // namespace triptych::evaluation
