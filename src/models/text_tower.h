#pragma once

#include "models/two_tower.h"

namespace triptych {

/// The blocks of the text tower: "text.embed", "text.blocks.i", "text.head".
void append_text_tower(std::vector<BlockSpec>& blocks, const TwoTowerConfig& config, bool sequence_parallel);

}  // namespace triptych
