#pragma once

#include <functional>
#include <string>
#include <vector>

#include "training/run_config.h"

namespace triptych::training {

/// What a grid of [parallel] is made of, beside every schedule with each number of virtual stages up to 2, every
/// parallel.zero where there are replicas (of four or more 3 alone, among half of them), sequence parallelism where
/// there is tensor parallelism, and every recomputation. Each list begins with 1.
struct GridSizes {
  std::vector<int> pp{1, 2, 4}, dp{1, 2, 4}, cp{1, 2}, tp{1, 2}, microbatches{1, 2, 4};
};

enum class GridKind {
  kPairwise,  ///< few, in which every two settings meet that can
  kFull,      ///< all
};

/// Reads a run's config with overrides behind its own, for so many ranks; throws UserError where that is refused.
using ReadConfig = std::function<RunConfig(const std::vector<std::string>& overrides, int num_ranks)>;

struct VerifyGrid {
  std::vector<ParallelOptions> cases;
  std::vector<std::string> left_out;  ///< "pp 4 with zb_v x 2: why", of settings and pairs that the config refuses
  int num_beyond_ranks = 0;           ///< settings and pairs for which there are too few ranks
};

/// The cases of a grid that the config's own checks allow, on at most so many ranks. Cuts and a memory budget, which
/// are for one mesh, are taken away; other keys of [parallel] are as the config has them.
VerifyGrid verify_grid(const ReadConfig& read, int num_ranks, GridKind kind, const GridSizes& sizes = {});

/// One of `count` parts of a grid: the `index`-th case, from 1, and every `count`-th behind it.
struct GridPart {
  int index = 1, count = 1;
};

/// "3/16"; throws UserError.
GridPart parse_grid_part(const std::string& text);

/// Its cases; throws UserError if there are none. The parts 1/N to N/N have every case once.
std::vector<ParallelOptions> cases_of(const VerifyGrid& grid, const GridPart& part);

/// "pp 2 dp 2 cp 1 tp 2  zb_v x 2  4 microbatches  zero 3  zero_group 2  recompute full  sequence_parallel": a case,
/// without what is off.
std::string case_text(const ParallelOptions& parallel);

}  // namespace triptych::training
