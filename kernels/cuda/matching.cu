#include "kernels/cuda/common.cuh"
#include "kernels/matching_rule.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

struct MatchingTargets {
  MatchedRows rows;
  int32_t* out;
  __device__ void operator()(int64_t i, Piece<1>) const { out[i] = matching_target(rows, i); }
};

struct Gumbel {
  __host__ __device__ double operator()(double u) const { return -log(-log(u)); }
};

/// A thread a sample: groups are small, and there are few of them.
struct HardNegatives {
  HardNegativesArgs args;
  __device__ void operator()(int64_t i, Piece<1>) const { args.sources[i] = hard_negative(args, i, Gumbel()); }
};

}  // namespace

void matching_targets(Stream& stream, const MatchedRows& rows, int32_t* out) {
  launch_each_piece<1>(stream, "matching_targets", rows.num_samples, true, MatchingTargets{rows, out});
}

void hard_negatives(Stream& stream, const HardNegativesArgs& args) {
  launch_each_piece<1>(stream, "hard_negatives", args.rows.num_samples, true, HardNegatives{args});
}

}  // namespace triptych::kernels
