#include "data/ingest_coco.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include "base/hash.h"
#include "data/coco_reader.h"
#include "data/input_files.h"

namespace triptych::data {
namespace {

class Coco final : public IngestSource {
 public:
  explicit Coco(const CocoInput& input) : input_(input), images_(input.images) {
    for (const auto& path : input_.annotations) {
      refuse_other_format(path, InputFormat::kCoco);
      read_coco(path, set_);
    }
    for (const auto& [id, name] : set_.categories) {
      classes_.emplace(id, static_cast<int32_t>(names_.size()));
      names_.push_back(name);
    }
    for (const auto& image : set_.images) order_.push_back(&image);
  }

  bool next(IngestRecord& record) override {
    if (number_ == order_.size()) return false;
    const auto& [id, image] = *order_[number_];
    record.number = ++number_;
    record.after = {.number = number_};
    record.folder = &images_;
    record.sample.id = id;
    if (image.file.empty()) throw SampleFault(kMalformed, "is named by annotations, but not listed under 'images'");
    if (!image.problem.empty()) throw SampleFault(kMalformed, image.problem);
    record.sample.image = image.file;
    for (const std::string& caption : image.captions) add_stripped_caption(caption, record.sample);
    if (image.width == 0 || image.height == 0) {
      if (!image.boxes.empty())
        throw SampleFault(kBadBoxes, "has boxes, and 'images' does not say how large the image is");
    } else {
      record.seen_width = image.width;
      record.seen_height = image.height;
    }
    for (const CocoBox& box : image.boxes) add_box(box, image, record.sample);
    return true;
  }

  void go_to(const IngestCursor& cursor) override { number_ = std::min<uint64_t>(cursor.number, order_.size()); }

  std::string fingerprint() const override {
    std::string text = "coco";
    for (const auto& path : input_.annotations) text += " " + hash_file(path).hex();
    return text;
  }
  std::string name() const override { return name_of_inputs(input_.annotations); }
  std::string_view unit() const override { return "image"; }
  std::string place(uint64_t, uint64_t number) const override {
    return fmt::format("image {}", order_.at(number - 1)->first);
  }
  std::vector<std::string> class_names() const override { return names_; }

 private:
  /// In whole pixels that hold all of the box, as far as they lie in the image.
  void add_box(const CocoBox& box, const CocoImage& image, SampleDescription& sample) const {
    if (box.is_crowd) {
      sample.ignored.push_back("a box around a crowd");
      return;
    }
    const auto [left, top, width, height] = box.corners;
    const auto clip = [](double value, uint32_t most) {
      return static_cast<int32_t>(std::clamp(value, 0.0, static_cast<double>(most)));
    };
    const uint32_t most = static_cast<uint32_t>(std::numeric_limits<int32_t>::max());
    const uint32_t right = std::min(image.width, most), bottom = std::min(image.height, most);
    BoxRecord record{.left = clip(std::floor(left), right),
                     .top = clip(std::floor(top), bottom),
                     .right = clip(std::ceil(left + width), right),
                     .bottom = clip(std::ceil(top + height), bottom)};
    if (!(width > 0) || !(height > 0) || record.left >= record.right || record.top >= record.bottom) {
      sample.ignored.push_back("a box without area in the image");
      return;
    }
    const auto known = classes_.find(box.category);
    if (known == classes_.end()) {
      throw SampleFault(kBadBoxes,
                        fmt::format("has a box of category {}, which is not listed under 'categories'", box.category));
    }
    record.class_number = known->second;
    sample.boxes.push_back(record);
  }

  CocoInput input_;
  ImageFolder images_;
  CocoSet set_;
  std::unordered_map<int64_t, int32_t> classes_;  // by the categories' ids
  std::vector<std::string> names_;
  std::vector<const std::pair<const uint64_t, CocoImage>*> order_;
  uint64_t number_ = 0;
};

}  // namespace

std::unique_ptr<IngestSource> open_coco(const CocoInput& input) {
  return std::make_unique<Coco>(input);
}

}  // namespace triptych::data
