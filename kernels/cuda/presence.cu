#include "kernels/cuda/common.cuh"
#include "kernels/presence.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

struct BothPresent {
  const uint8_t* a;
  const uint8_t* b;
  uint8_t* out;
  __device__ void operator()(int64_t i, Piece<1>) const { out[i] = a[i] != 0 && b[i] != 0 ? 1 : 0; }
};

struct TargetsOfPresent {
  const int32_t* targets;
  const uint8_t* present;
  int64_t per_sample;
  int32_t* out;
  __device__ void operator()(int64_t i, Piece<1>) const { out[i] = present[i / per_sample] != 0 ? targets[i] : -1; }
};

struct SourcesOfPresent {
  const uint8_t* present;
  int64_t num_tokens;
  int32_t* out;
  __device__ void operator()(int64_t i, Piece<1>) const {
    out[i] = present[i / num_tokens] != 0 ? static_cast<int32_t>(i % num_tokens) + 1 : 0;
  }
};

struct Lengthen {
  const int32_t* lengths;
  int32_t added;
  int32_t* out;
  __device__ void operator()(int64_t i, Piece<1>) const { out[i] = lengths[i] + added; }
};

}  // namespace

void both_present(Stream& stream, const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t n) {
  launch_each_piece<1>(stream, "both_present", n, true, BothPresent{a, b, out});
}

void targets_of_present(Stream& stream, const int32_t* targets, const uint8_t* present, int64_t num_samples,
                        int64_t per_sample, int32_t* out) {
  launch_each_piece<1>(stream, "targets_of_present", num_samples * per_sample, true,
                       TargetsOfPresent{targets, present, per_sample, out});
}

void sources_of_present(Stream& stream, const uint8_t* present, int64_t num_samples, int64_t num_tokens, int32_t* out) {
  launch_each_piece<1>(stream, "sources_of_present", num_samples * num_tokens, true,
                       SourcesOfPresent{present, num_tokens, out});
}

void lengthen(Stream& stream, const int32_t* lengths, int32_t added, int64_t n, int32_t* out) {
  launch_each_piece<1>(stream, "lengthen", n, true, Lengthen{lengths, added, out});
}

}  // namespace triptych::kernels
