#pragma once

#include "base/error.h"
#include "kernels/contrastive.h"

namespace triptych::kernels {

/// Throws InternalError unless the pairs of a block are in it.
inline void check_own(const ContrastiveBlock& block) {
  TRIPTYCH_CHECK(block.num_own == 0 || (block.first_row >= 0 && block.first_row + block.num_own <= block.rows &&
                                        block.first_col >= 0 && block.first_col + block.num_own <= block.cols),
                 "{} pairs from row {} and column {} of {} x {} similarities", block.num_own, block.first_row,
                 block.first_col, block.rows, block.cols);
}

}  // namespace triptych::kernels
