#include <algorithm>
#include <limits>
#include <optional>

#include "base/bounding_box.h"
#include "base/error.h"
#include "base/philox.h"
#include "data/field_sources.h"
#include "data/row_augmentation.h"
#include "data/synthetic_rows.h"

namespace triptych::data {
namespace {

constexpr double kLeastShare = 0.1;  // of a box's area that a crop leaves
constexpr int32_t kNoClass = -1;

BoundingBox corners_of(const BoxRecord& box) {
  return {static_cast<double>(box.left), static_cast<double>(box.top), static_cast<double>(box.right),
          static_cast<double>(box.bottom)};
}

/// A box of the image as shares of the square that a row shows; nothing where too little of it is left.
std::optional<BoundingBox> seen_box(const BoundingBox& box, const Augmentation& augmentation, double least_side) {
  const Box& crop = augmentation.crop;
  const BoundingBox whole{(box.x0 - crop.x) / crop.width, (box.y0 - crop.y) / crop.height,
                          (box.x1 - crop.x) / crop.width, (box.y1 - crop.y) / crop.height};
  const auto inside = [](double share) { return std::clamp(share, 0.0, 1.0); };
  BoundingBox seen{inside(whole.x0), inside(whole.y0), inside(whole.x1), inside(whole.y1)};
  if (box_area(seen) < kLeastShare * box_area(whole)) return std::nullopt;
  if (std::min(seen.x1 - seen.x0, seen.y1 - seen.y0) < least_side) return std::nullopt;
  if (augmentation.flip) seen = {1 - seen.x1, seen.y0, 1 - seen.x0, seen.y1};
  return seen;
}

void write_box(const BoundingBox& box, std::span<float> out) {
  const double corners[4] = {box.x0, box.y0, box.x1, box.y1};
  std::ranges::transform(corners, out.begin(), [](double corner) { return static_cast<float>(corner); });
}

/// What both fillers know of the square that rows show.
struct Square {
  int64_t size;
  AugmentOptions augment;

  Augmentation augmentation(const LoadedSample& sample) const {
    return row_augmentation(sample, augment, sample.record.seen_width(), sample.record.seen_height());
  }
  double least_side(const LoadedSample& sample) const { return sample.training ? 1 / static_cast<double>(size) : 0; }
};

enum Row : std::size_t { kBoxes, kClasses, kPresent };

class BoxFiller : public RowFiller {
 public:
  BoxFiller(int64_t num_classes, const Square& square) : num_classes_(num_classes), square_(square) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    clear(rows);
    const std::span<float> boxes = values_of<float>(rows[kBoxes]);
    const std::span<int32_t> classes = values_of<int32_t>(rows[kClasses]);
    std::size_t count = 0, num_seen = 0;
    std::optional<Augmentation> augmentation;
    for (const BoxRecord& box : sample.record.boxes) {
      if (box.class_number == kNoClass) continue;
      check(sample, box, ++count, classes.size());
      if (!sample.has_image) continue;
      if (!augmentation) augmentation = square_.augmentation(sample);
      const auto seen = seen_box(corners_of(box), *augmentation, square_.least_side(sample));
      if (!seen) continue;
      write_box(*seen, boxes.subspan(4 * num_seen, 4));
      classes[num_seen++] = box.class_number;
    }
    values_of<uint8_t>(rows[kPresent])[0] = sample.has_image && count != 0;
  }

  void clear(FieldRows rows) override {
    std::ranges::fill(values_of<float>(rows[kBoxes]), 0.f);
    std::ranges::fill(values_of<int32_t>(rows[kClasses]), kNoClass);
    values_of<uint8_t>(rows[kPresent])[0] = 0;
  }

 private:
  void check(const LoadedSample& sample, const BoxRecord& box, std::size_t count, std::size_t max_boxes) const {
    if (count > max_boxes) {
      throw UserError(
          "boxes",
          fmt::format(
              "a sample may have at most {} boxes with a class; {} has more. Raise the number of boxes that the "
              "model can find.",
              max_boxes, sample.name()));
    }
    if (box.class_number >= num_classes_) {
      throw UserError("boxes", fmt::format("a box's class must be below the number of classes, {}; {} has class {}. "
                                           "Raise the number of classes, or make the data set again.",
                                           num_classes_, sample.name(), box.class_number));
    }
  }

  int64_t num_classes_;
  Square square_;
};

/// Of words word .. word + 3, a box of sides of a tenth at least.
BoundingBox draw_box(RandomKey key, uint64_t word) {
  const auto side = [&](uint64_t at) {
    const double first = 0.9 * philox_uniform(key, at);
    return std::pair(first, first + 0.1 + (0.9 - first) * philox_uniform(key, at + 1));
  };
  const auto [x0, x1] = side(word);
  const auto [y0, y1] = side(word + 2);
  return {x0, y0, x1, y1};
}

void synthesize_boxes(int64_t num_classes, uint64_t seed, int64_t global_row, FieldRows rows) {
  const std::span<float> boxes = values_of<float>(rows[kBoxes]);
  const std::span<int32_t> classes = values_of<int32_t>(rows[kClasses]);
  const RandomKey key = random_key(seed, "synthetic/boxes", static_cast<uint64_t>(global_row));
  const std::size_t count =
      synthetic_row_lacks(kSyntheticImageAbsent, seed, global_row) ? 0 : philox_word(key, 0) % (classes.size() + 1);
  std::ranges::fill(boxes, 0.f);
  std::ranges::fill(classes, kNoClass);
  for (std::size_t k = 0; k < count; ++k) {
    const uint64_t word = 8 * (k + 1);
    write_box(draw_box(key, word), boxes.subspan(4 * k, 4));
    classes[k] = static_cast<int32_t>(philox_word(key, word + 4) % static_cast<uint64_t>(num_classes));
  }
  values_of<uint8_t>(rows[kPresent])[0] = count != 0;
}

enum PhraseRow : std::size_t { kPhraseBox, kPhrasePresent };

class PhraseBoxFiller : public RowFiller {
 public:
  explicit PhraseBoxFiller(const Square& square) : square_(square) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    clear(rows);
    const std::optional<BoundingBox> named = sample.has_image ? named_box(sample) : std::nullopt;
    if (!named) return;
    const auto seen = seen_box(*named, square_.augmentation(sample), square_.least_side(sample));
    if (!seen) return;
    write_box(*seen, values_of<float>(rows[kPhraseBox]));
    values_of<uint8_t>(rows[kPhrasePresent])[0] = 1;
  }

  void clear(FieldRows rows) override {
    std::ranges::fill(values_of<float>(rows[kPhraseBox]), 0.f);
    values_of<uint8_t>(rows[kPhrasePresent])[0] = 0;
  }

 private:
  /// Around all boxes that the row's text names.
  static std::optional<BoundingBox> named_box(const LoadedSample& sample) {
    std::optional<BoundingBox> around;
    for (const BoxRecord& record : sample.record.boxes) {
      if (!sample.caption || record.phrase != static_cast<int32_t>(*sample.caption)) continue;
      const BoundingBox box = corners_of(record);
      around = !around ? box
                       : BoundingBox{std::min(around->x0, box.x0), std::min(around->y0, box.y0),
                                     std::max(around->x1, box.x1), std::max(around->y1, box.y1)};
    }
    return around;
  }

  Square square_;
};

void synthesize_phrase_box(uint64_t seed, int64_t global_row, FieldRows rows) {
  const bool is_there = !synthetic_row_lacks(kSyntheticImageAbsent, seed, global_row) &&
                        !synthetic_row_lacks(kSyntheticTextAbsent, seed, global_row);
  const RandomKey key = random_key(seed, "synthetic/phrase_box", static_cast<uint64_t>(global_row));
  write_box(is_there ? draw_box(key, 0) : BoundingBox(), values_of<float>(rows[kPhraseBox]));
  values_of<uint8_t>(rows[kPhrasePresent])[0] = is_there;
}

}  // namespace

FieldSource box_fields(int64_t max_boxes, int64_t num_classes, int64_t image_size, const AugmentOptions& augment) {
  constexpr auto kMost = static_cast<int64_t>(kMaxBoxesPerSample);
  constexpr int64_t kMostClasses = std::numeric_limits<int32_t>::max();
  if (max_boxes < 1 || max_boxes > kMost || num_classes < 1 || num_classes > kMostClasses) {
    throw UserError("boxes", fmt::format("there must be 1 to {} boxes of 1 to {} classes, found {} and {}. Correct the "
                                         "configuration.",
                                         kMost, kMostClasses, max_boxes, num_classes));
  }
  check_seen_square(image_size, augment);
  return {.fields = {{.name = "boxes", .dtype = DType::kFloat32, .dims = {max_boxes, 4}},
                     {.name = "box_classes", .dtype = DType::kInt32, .dims = {max_boxes}},
                     {.name = "boxes_present", .dtype = DType::kUInt8}},
          .make =
              [=] {
                return std::make_unique<BoxFiller>(num_classes, Square{image_size, augment});
              },
          .synthesize = [=](uint64_t seed, int64_t global_row,
                            FieldRows rows) { synthesize_boxes(num_classes, seed, global_row, rows); }};
}

FieldSource phrase_box_fields(int64_t image_size, const AugmentOptions& augment) {
  check_seen_square(image_size, augment);
  return {.fields = {{.name = "phrase_box", .dtype = DType::kFloat32, .dims = {4}},
                     {.name = "phrase_box_present", .dtype = DType::kUInt8}},
          .make =
              [=] {
                return std::make_unique<PhraseBoxFiller>(Square{image_size, augment});
              },
          .synthesize = synthesize_phrase_box};
}

}  // namespace triptych::data
