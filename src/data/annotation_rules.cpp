#include "data/annotation_rules.h"

#include <fmt/core.h>

namespace triptych::data {
namespace {

std::string fault_of_box(const BoxRecord& box, uint32_t width, uint32_t height, std::span<const TextRole> roles) {
  const bool lies_inside = 0 <= box.left && box.left < box.right && int64_t{box.right} <= int64_t{width} &&
                           0 <= box.top && box.top < box.bottom && int64_t{box.bottom} <= int64_t{height};
  if (!lies_inside) {
    return fmt::format(
        "must have 0 <= left < right <= {} and 0 <= top < bottom <= {} in an image of {}x{}, found [{}, "
        "{}, {}, {}]",
        width, height, width, height, box.left, box.top, box.right, box.bottom);
  }
  if (box.class_number < -1) return fmt::format("has the class {}, which must be 0 or more", box.class_number);
  // Where there are no roles, none of the texts is a phrase.
  const bool is_phrase = box.phrase >= 0 && static_cast<std::size_t>(box.phrase) < roles.size() &&
                         roles[static_cast<std::size_t>(box.phrase)] == TextRole::kPhrase;
  if (box.phrase != -1 && !is_phrase) {
    return fmt::format("is named by text {} of the sample, which is no phrase", box.phrase);
  }
  if (box.class_number == -1 && box.phrase == -1) return "has neither a class nor a phrase";
  return {};
}

}  // namespace

std::string fault_of_roles(std::span<const TextRole> roles) {
  for (std::size_t k = 0; k < roles.size(); ++k) {
    if (roles[k] != TextRole::kAnswer) continue;
    if (k == 0 || (roles[k - 1] != TextRole::kQuestion && roles[k - 1] != TextRole::kAnswer)) {
      return fmt::format("text {} is an answer, which must follow its question or another answer to it", k);
    }
  }
  return {};
}

std::string fault_of_boxes(const PackedArray<BoxRecord>& boxes, uint32_t width, uint32_t height,
                           std::span<const TextRole> roles) {
  if (boxes.empty()) return {};
  if (boxes.size() > kMaxBoxesPerSample) {
    return fmt::format("has {} boxes, at most {} are allowed", boxes.size(), kMaxBoxesPerSample);
  }
  if (width == 0) return "has boxes and no image";
  for (std::size_t k = 0; k < boxes.size(); ++k) {
    const std::string fault = fault_of_box(boxes[k], width, height, roles);
    if (!fault.empty()) return fmt::format("box {} {}", k, fault);
  }
  return {};
}

}  // namespace triptych::data
