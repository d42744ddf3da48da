#pragma once

#include <memory>

#include "text/training.h"

namespace triptych::data {

class Dataset;

/// All captions of all samples and their texts of other roles, in the data set's order; reads (and checks) no images.
CaptionSource dataset_captions(std::shared_ptr<const Dataset> dataset);

}  // namespace triptych::data
