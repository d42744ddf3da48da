#pragma once

#include <cstdint>

#include "base/dtype.h"
#include "device/stream.h"

namespace triptych::kernels {

struct EmbeddingForwardArgs {
  const int32_t* ids = nullptr;  ///< [n], global
  const void* table = nullptr;   ///< table_dtype [vocab_local, cols], the rows from vocab_begin on
  void* out = nullptr;           ///< dtype [n, cols]
  int64_t n = 0;
  int64_t cols = 0;
  int64_t vocab_begin = 0;
  int64_t vocab_local = 0;
  DType table_dtype = DType::kFloat32;  ///< float32, bfloat16 or (on a GPU) float16
  DType dtype = DType::kFloat32;        ///< likewise
};

/// out[i] = table[ids[i] - vocab_begin]; an id outside of this rank's rows gives zeros, so the sum over the ranks that
/// shard the vocabulary is the embedding. Whether an id is inside of the whole vocabulary is the caller's to check.
void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args);

struct EmbeddingBackwardArgs {
  const int32_t* ids = nullptr;  ///< [n], global
  const void* dout = nullptr;    ///< dtype [n, cols]
  float* dtable = nullptr;       ///< [vocab_local, cols], +=
  int64_t n = 0;
  int64_t cols = 0;
  int64_t vocab_begin = 0;
  int64_t vocab_local = 0;
  DType dtype = DType::kFloat32;
};

/// dtable[ids[i] - vocab_begin] += dout[i], in the order of i whatever the number of threads.
void embedding_backward(Stream& stream, const EmbeddingBackwardArgs& args);

}  // namespace triptych::kernels
