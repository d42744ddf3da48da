// Source: Satish, Harris and Garland 2009, Designing Efficient Sorting Algorithms for Manycore GPUs, section 3.
#include <bit>
#include <utility>

#include "base/error.h"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/stable_order.cuh"

namespace triptych::kernels::cuda {
namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
constexpr int kWarps = kBlockThreads / kWarpSize;
constexpr int kRounds = 8;  ///< elements of a thread
constexpr int kWarpElements = kWarpSize * kRounds;
constexpr int kTile = kBlockThreads * kRounds;  ///< elements of a block
static_assert(kDigits == kBlockThreads, "a thread has one digit where digits are shared out");

/// One pass: from the order of the lower digits (null before the first) to that with this one.
struct Pass {
  TableRows rows;
  const uint32_t* from;
  uint32_t* to;
  uint32_t* counts;  ///< [kDigits, tiles]; after the scan where a tile's elements of a digit begin
  uint32_t n;
  uint32_t tiles;
  int shift;

  __device__ uint32_t element(uint32_t position) const { return from == nullptr ? position : from[position]; }
  __device__ uint32_t digit(uint32_t i) const { return rows(i) >> shift & (kDigits - 1); }
};

/// Where in the order the lane's element of a round is: warps and rounds are contiguous.
__device__ inline uint32_t position_of(uint32_t tile, int round) {
  const uint32_t warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  return tile * kTile + warp * kWarpElements + round * kWarpSize + lane;
}

/// The lanes, of those in `active`, whose digit is this lane's: a vote a bit.
__device__ inline uint32_t peers_of(uint32_t active, uint32_t digit) {
  uint32_t peers = active;
#pragma unroll
  for (int bit = 0; bit < kDigitBits; ++bit) {
    const bool set = (digit >> bit & 1) != 0;
    const uint32_t with_bit = __ballot_sync(kFullMask, set);
    peers &= set ? with_bit : ~with_bit;
  }
  return peers;
}

__global__ void __launch_bounds__(kBlockThreads) count_digits(Pass pass) {
  __shared__ uint32_t counts[kDigits];
  counts[threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const uint32_t position = position_of(blockIdx.x, round);
    if (position < pass.n) atomicAdd(&counts[pass.digit(pass.element(position))], 1u);  // integers: in any order
  }
  __syncthreads();
  pass.counts[threadIdx.x * pass.tiles + blockIdx.x] = counts[threadIdx.x];
}

/// Replaces counts[0 .. size) by the sums of those before each. One block.
constexpr int kScanThreads = 1024;
__global__ void __launch_bounds__(kScanThreads) scan_counts(uint32_t* counts, uint32_t size) {
  __shared__ uint32_t sums[kScanThreads / kWarpSize];
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  uint32_t before = 0;  // all earlier turns
  for (uint32_t begin = 0; begin < size; begin += kScanThreads) {
    const uint32_t i = begin + threadIdx.x;
    const uint32_t count = i < size ? counts[i] : 0;
    uint32_t up_to = count;  // within the warp
#pragma unroll
    for (int offset = 1; offset < kWarpSize; offset *= 2) {
      const uint32_t other = __shfl_up_sync(kFullMask, up_to, offset);
      if (lane >= offset) up_to += other;
    }
    if (lane == kWarpSize - 1) sums[warp] = up_to;
    __syncthreads();
    uint32_t all = 0, earlier_warps = 0;
    for (int w = 0; w < kScanThreads / kWarpSize; ++w) {
      if (w < warp) earlier_warps += sums[w];
      all += sums[w];
    }
    if (i < size) counts[i] = before + earlier_warps + up_to - count;
    before += all;
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kBlockThreads) move_elements(Pass pass) {
  __shared__ uint32_t next[kWarps][kDigits];  // how many a warp has of each digit, then where its next one goes
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  const uint32_t lower_lanes = (1u << lane) - 1;
  uint32_t element[kRounds], digit[kRounds], peers[kRounds];
#pragma unroll
  for (int w = 0; w < kWarps; ++w) next[w][threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const uint32_t position = position_of(blockIdx.x, round);
    const bool here = position < pass.n;
    const uint32_t active = __ballot_sync(kFullMask, here);
    element[round] = here ? pass.element(position) : 0;
    digit[round] = here ? pass.digit(element[round]) : 0;
    const uint32_t same = peers_of(active, digit[round]);
    peers[round] = here ? same : 0;
    if (here && (peers[round] & lower_lanes) == 0) next[warp][digit[round]] += __popc(peers[round]);
    __syncwarp();
  }
  __syncthreads();
  uint32_t at = pass.counts[threadIdx.x * pass.tiles + blockIdx.x];
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const uint32_t count = next[w][threadIdx.x];
    next[w][threadIdx.x] = at;
    at += count;
  }
  __syncthreads();
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const bool here = peers[round] != 0;
    if (here) pass.to[next[warp][digit[round]] + __popc(peers[round] & lower_lanes)] = element[round];
    __syncwarp();
    if (here && (peers[round] & lower_lanes) == 0) next[warp][digit[round]] += __popc(peers[round]);
    __syncwarp();
  }
}

uint32_t num_tiles(int64_t n) {
  return static_cast<uint32_t>((n + kTile - 1) / kTile);
}

}  // namespace

std::size_t stable_order_bytes(int64_t n) {
  return (2 * static_cast<std::size_t>(n) + std::size_t{kDigits} * num_tiles(n)) * sizeof(uint32_t);
}

const uint32_t* stable_order(Stream& stream, const TableRows& rows, int64_t n, std::byte* scratch) {
  TRIPTYCH_CHECK(n > 0 && n < int64_t{1} << 31, "Positions are 32-bit numbers, found {} of them.", n);
  auto* to = reinterpret_cast<uint32_t*>(scratch);
  uint32_t* other = to + n;
  Pass pass{rows, nullptr, to, other + n, static_cast<uint32_t>(n), num_tiles(n), 0};
  const int key_bits = static_cast<int>(std::bit_width(rows.vocab_local));
  for (; pass.shift < key_bits; pass.shift += kDigitBits) {
    count_digits<<<pass.tiles, kBlockThreads, 0, cuda_stream(stream)>>>(pass);
    check_launch("count_digits");
    scan_counts<<<1, kScanThreads, 0, cuda_stream(stream)>>>(pass.counts, kDigits * pass.tiles);
    check_launch("scan_counts");
    move_elements<<<pass.tiles, kBlockThreads, 0, cuda_stream(stream)>>>(pass);
    check_launch("move_elements");
    pass.from = pass.to;
    pass.to = std::exchange(other, pass.to);
  }
  return pass.from;
}

}  // namespace triptych::kernels::cuda
