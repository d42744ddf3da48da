#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "kernels/cpu/parallel.h"
#include "kernels/sum_target.h"

namespace triptych::kernels::cpu {

/// out[c]: the sum over blocks of sums[block * stride + c].
void add_block_sums(const float* sums, int64_t num_blocks, int64_t cols, int64_t stride, SumTarget out);

/// For kernels that go over rows and sum columns on the way: run(begin, end, sums) adds what rows [begin, end) have to
/// `sums`, [outs.size(), cols], which are the block's own; those of all blocks then go to `outs` in order. The blocks
/// depend on the rows alone, so the sums do not depend on the number of threads. Uses the stream's scratch.
template <typename F>
void sum_row_blocks(Stream& stream, int64_t rows, int64_t cols, std::initializer_list<SumTarget> outs, const F& run) {
  if (cols <= 0) return;
  const int64_t block_rows = std::max<int64_t>(64, (rows + 255) / 256);
  const int64_t num_blocks = (rows + block_rows - 1) / block_rows;
  const int64_t stride = static_cast<int64_t>(outs.size()) * cols;
  const int64_t num_sums = std::max<int64_t>(1, num_blocks) * stride;  // without rows too, there is one to point into
  float* const sums = reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(num_sums) * sizeof(float)));
  const int64_t grain = std::max<int64_t>(1, grain_rows(cols) / block_rows);
  parallel_ranges(stream, num_blocks, grain, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      float* const of_block = sums + block * stride;
      std::fill(of_block, of_block + stride, 0.0f);
      run(block * block_rows, std::min(rows, (block + 1) * block_rows), of_block);
    }
  });
  const float* of_out = sums;
  for (const SumTarget out : outs) {
    if (out) add_block_sums(of_out, num_blocks, cols, stride, out);
    of_out += cols;
  }
}

}  // namespace triptych::kernels::cpu
