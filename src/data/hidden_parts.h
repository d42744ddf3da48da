#pragma once

#include <vector>

#include "data/field_source.h"

namespace triptych::data {

/// The same fields, of samples that lack `hidden`: every filler sees rows that show no image, or no text. To measure
/// what a model knows from one modality alone. Labels and answers stay.
std::vector<FieldSource> hiding(std::vector<FieldSource> sources, SampleParts hidden);

}  // namespace triptych::data
