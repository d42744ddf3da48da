#include "kernels/cuda/common.cuh"
#include "kernels/embedding.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

template <typename Table, typename T>
struct Lookup {
  const int32_t* ids;
  const Table* table;
  T* out;
  int64_t cols;
  int64_t vocab_begin;
  int64_t vocab_local;
  template <int N>
  __device__ void operator()(int64_t i, int64_t c, Piece<N> piece) const {
    const int64_t row = ids[i] - vocab_begin;
    Floats<N> values{};
    if (row >= 0 && row < vocab_local) values = load<N>(table + row * cols + c, piece);
    store(values, out + i * cols + c, piece);
  }
};

}  // namespace

void embedding_forward(Stream& stream, const EmbeddingForwardArgs& args) {
  with_float_type(args.table_dtype, "embedding_forward", [&](auto table_tag) {
    with_float_type(args.dtype, "embedding_forward", [&](auto tag) {
      using Table = typename decltype(table_tag)::Type;
      using T = typename decltype(tag)::Type;
      constexpr int64_t kNarrowest = std::min(sizeof(Table), sizeof(T));
      launch_each_row_piece<kVectorSize<Table, T>>(
          stream, "embedding_forward", args.n, args.cols, aligned_16({args.table, args.out}, {args.cols * kNarrowest}),
          Lookup<Table, T>{args.ids, static_cast<const Table*>(args.table), static_cast<T*>(args.out), args.cols,
                           args.vocab_begin, args.vocab_local});
    });
  });
}

}  // namespace triptych::kernels
