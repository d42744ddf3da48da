#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

struct CocoInput {
  std::vector<std::filesystem::path> annotations;  ///< captions_*.json, instances_*.json, or both: of the same images
  std::filesystem::path images;                    ///< folder that file names are relative to
};

/// COCO's annotations, one sample an image, in the order of the images' ids, which become the samples'. Captions become
/// captions, boxes get the class that their category is in the order of the categories' ids; boxes of crowds and those
/// without area are left out. Memory: all of the annotations. Throws UserError if a file is of another format or
/// broken.
std::unique_ptr<IngestSource> open_coco(const CocoInput& input);

}  // namespace triptych::data
