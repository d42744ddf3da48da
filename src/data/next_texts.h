#pragma once

#include <vector>

#include "data/field_source.h"

namespace triptych::data {

/// The same fields, of rows whose text is the next sample's (the first's behind the last): its first caption, or none
/// if it has none. To measure whether a model sees that an image and a text do not belong together. Fillers that read
/// images see the sample as it is; so do all of a row that shows no text.
std::vector<FieldSource> with_texts_of_next(std::vector<FieldSource> sources);

}  // namespace triptych::data
