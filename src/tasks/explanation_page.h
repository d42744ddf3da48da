#pragma once

#include <string>
#include <vector>

#include "report/panel.h"
#include "tasks/explain.h"

namespace triptych::tasks {

/// A map over the picture that it is of, `size` pixels a side: the brighter and warmer a patch, the larger its number
/// in relation to the map's largest. Negative numbers and a map of zeros are dark.
ReportPicture heat_picture(const Explanation& explanation, const PatchMap& map, uint32_t size);

/// An explanation as panels of a report: scores, the picture with its maps, the words' maps, the gates, the heads'
/// maps.
std::vector<Panel> explanation_panels(const Explanation& explanation);

/// The same as one JSON object, numbers to the last digit:
///   {"side": 4, "size": 32, "subject": "...", "text": "...", "scores": [{"name", "value"}],
///    "maps": [{"name", "patches": [side * side numbers]}], "words": [the same],
///    "layers": [{"name", "heads": [the same]}], "gates": [{"name", "value"}]}
std::string explanation_json(const Explanation& explanation);

}  // namespace triptych::tasks
