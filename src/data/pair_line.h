#pragma once

#include <string_view>

#include "data/sample_description.h"

namespace triptych::data {

/// Parses and checks one line of a captions file, as docs/ingest.md describes it; `ignored` has its keys that mean
/// nothing here. Throws SampleFault.
SampleDescription parse_pair_line(std::string_view line);

}  // namespace triptych::data
