#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "kernels/matmul.h"

// What the implementations of matmul share.

namespace triptych::kernels {

/// Strides with their defaults filled in, and the contract checked but for the types.
inline Matmul resolve_matmul(Matmul p) {
  TRIPTYCH_CHECK(p.m >= 0 && p.n >= 0 && p.k >= 0 && p.batch >= 0, "m {}, n {}, k {}, batch {}", p.m, p.n, p.k,
                 p.batch);
  TRIPTYCH_CHECK(
      !p.a_sums || (p.transpose_a && p.batch == 1 && p.bias == nullptr && p.n > 0 && p.output_dtype == DType::kFloat32),
      "sums of A are for one product with transpose_a, no bias and a float32 output, found batch {}, {}", p.batch,
      dtype_name(p.output_dtype));
  const auto row_stride = [](int64_t given, int64_t row_length, const char* name) {
    TRIPTYCH_CHECK(given == 0 || given >= row_length, "rows of {} are {} long but {} apart", name, row_length, given);
    return given == 0 ? std::max<int64_t>(row_length, 1) : given;
  };
  p.a_row_stride = row_stride(p.a_row_stride, p.transpose_a ? p.m : p.k, "A");
  p.b_row_stride = row_stride(p.b_row_stride, p.transpose_b ? p.k : p.n, "B");
  p.c_row_stride = row_stride(p.c_row_stride, p.n, "C");
  if (p.c_batch_stride == 0) p.c_batch_stride = p.m * p.c_row_stride;
  return p;
}

/// What a prepared product depends on: everything of a Matmul but its addresses, and `variant`, the backend's own.
struct MatmulKey {
  MatmulKey(const Matmul& p, uint64_t variant_)
      : sizes{p.m,
              p.n,
              p.k,
              p.a_row_stride,
              p.b_row_stride,
              p.c_row_stride,
              p.batch,
              p.a_batch_stride,
              p.b_batch_stride,
              p.c_batch_stride},
        kinds{p.transpose_a,
              p.transpose_b,
              p.accumulate,
              p.bias != nullptr,
              static_cast<uint8_t>(p.input_dtype),
              static_cast<uint8_t>(p.output_dtype),
              static_cast<bool>(p.a_sums),
              0},
        variant(variant_) {}
  bool operator==(const MatmulKey&) const = default;

  std::array<int64_t, 10> sizes;
  std::array<uint8_t, 8> kinds;
  uint64_t variant;
};

struct MatmulKeyHash {
  std::size_t operator()(const MatmulKey& key) const {
    uint64_t hash = 0;
    const auto mix = [&hash](uint64_t value) { hash = (hash ^ value) * 0x9e3779b97f4a7c15u + (hash >> 29); };
    for (int64_t size : key.sizes) mix(static_cast<uint64_t>(size));
    mix(std::bit_cast<uint64_t>(key.kinds));
    mix(key.variant);
    return static_cast<std::size_t>(hash ^ (hash >> 32));
  }
};

/// Prepared products, of which the least recently used make room when there are too many.
template <typename Prepared>
class PreparedMatmuls {
 public:
  /// The one of this key, or `prepare()`, which is then kept. The reference is good until the next call.
  template <typename Prepare>
  Prepared& find_or(const MatmulKey& key, const Prepare& prepare) {
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
      prepared_.splice(prepared_.begin(), prepared_, found->second);
      return prepared_.front().second;
    }
    Prepared made = prepare();
    if (prepared_.size() == kMaxPrepared) {
      by_key_.erase(prepared_.back().first);
      prepared_.pop_back();
    }
    prepared_.emplace_front(key, std::move(made));
    by_key_.emplace(key, prepared_.begin());
    return prepared_.front().second;
  }

 private:
  static constexpr std::size_t kMaxPrepared = 512;
  std::list<std::pair<MatmulKey, Prepared>> prepared_;  // from the most to the least recently used
  std::unordered_map<MatmulKey, typename decltype(prepared_)::iterator, MatmulKeyHash> by_key_;
};

}  // namespace triptych::kernels
