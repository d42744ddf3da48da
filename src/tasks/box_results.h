#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/bounding_box.h"
#include "config/config_reader.h"
#include "report/panel.h"

// What tasks whose models say boxes have in common. Boxes are shares of the square that a model sees.

namespace triptych::tasks {

inline constexpr double kRightIou = 0.5;  ///< with a true box, of one that a report shows as right

/// Of a field's row: left, top, right, bottom.
BoundingBox field_box(std::span<const float> row);
/// Of a slot's row: center x, center y, width, height.
BoundingBox slot_box(std::span<const float> row);

/// As a panel draws it.
BoxesPanel::Box drawn_box(const BoundingBox& box, const std::string& text);

/// The square of a field "pixels", size x size, as a report shows it.
ReportPicture seen_picture(std::span<const uint8_t> pixels, int64_t size, const std::string& description);

/// objective.l1_weight and objective.giou_weight, of which one must be above 0.
void read_box_weights(ConfigReader& reader, double& l1_weight, double& giou_weight);

}  // namespace triptych::tasks
