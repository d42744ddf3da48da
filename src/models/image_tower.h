#pragma once

#include "models/two_tower.h"

namespace triptych {

/// The blocks of the image tower: "image.embed", "image.blocks.i", "image.head".
void append_image_tower(std::vector<BlockSpec>& blocks, const TwoTowerConfig& config, bool sequence_parallel);

}  // namespace triptych
