#include "tasks/box_results.h"

#include "data/png_writer.h"

namespace triptych::tasks {

BoundingBox field_box(std::span<const float> row) {
  return {row[0], row[1], row[2], row[3]};
}

BoundingBox slot_box(std::span<const float> row) {
  return to_corners({.x = row[0], .y = row[1], .width = row[2], .height = row[3]});
}

BoxesPanel::Box drawn_box(const BoundingBox& box, const std::string& text) {
  return {.left = box.x0, .top = box.y0, .right = box.x1, .bottom = box.y1, .text = text};
}

ReportPicture seen_picture(std::span<const uint8_t> pixels, int64_t size, const std::string& description) {
  const auto side = static_cast<uint32_t>(size);
  return {encode_png(side, side, pixels), description};
}

void read_box_weights(ConfigReader& reader, double& l1_weight, double& giou_weight) {
  reader
      .read("objective.l1_weight", l1_weight,
            "Weight of the absolute differences of a box's center and size, as shares of the image.")
      .at_least(0)
      .at_most(1e4);
  reader.read("objective.giou_weight", giou_weight, "Weight of 1 - the generalised IoU.").at_least(0).at_most(1e4);
  if (l1_weight == 0 && giou_weight == 0) {
    reader.problem("objective.l1_weight", "must be above 0 where objective.giou_weight is 0: nothing teaches boxes",
                   "Raise one of them");
  }
}

}  // namespace triptych::tasks
