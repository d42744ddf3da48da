#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/dropout.cuh"
#include "kernels/residual.h"
#include "kernels/residual_checks.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

template <typename T, typename Z>
struct Forward {
  ResidualSum<T, Z> sum;
  T* out;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    store(sum(row, c, piece), out + row * sum.dropout.cols + c, piece);
  }
};

template <typename T>
struct Backward {
  static constexpr int kUnroll = 2;  // what the random words leave of the registers
  const T* dout;
  BranchGradient<T> gradient;
  template <int N>
  __device__ void operator()(int64_t row, int64_t c, Piece<N> piece) const {
    gradient(cuda::load<N>(dout + row * gradient.dropout.cols + c, piece), row, c, piece);
  }
  /// The same, as rows to be summed.
  template <int N>
  __device__ Floats<N> load(int64_t, int64_t row, int64_t c, Piece<N> piece) const {
    return gradient(cuda::load<N>(dout + row * gradient.dropout.cols + c, piece), row, c, piece);
  }
};

}  // namespace

void residual_forward(Stream& stream, const ResidualForwardArgs& args) {
  const DropoutArgs& d = args.dropout;
  check_dropout(d);
  with_float_type(args.dtype, "residual_forward", [&](auto tag) {
    with_float_type(args.z_dtype, "residual_forward", [&](auto z_tag) {
      using T = typename decltype(tag)::Type;
      using Z = typename decltype(z_tag)::Type;
      constexpr int64_t kNarrowest = std::min(sizeof(T), sizeof(Z));
      launch_each_row_piece<kVectorSize<T, Z>>(stream, "residual_forward", d.batch * d.seq, d.cols,
                                               aligned_16({args.x, args.z, args.bias, args.out}, {d.cols * kNarrowest}),
                                               Forward<T, Z>{ResidualSum<T, Z>(args), static_cast<T*>(args.out)});
    });
  });
}

void residual_backward(Stream& stream, const ResidualBackwardArgs& args) {
  const DropoutArgs& d = args.dropout;
  check_residual_backward(args);
  with_float_type(args.dtype, "residual_backward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    const int64_t rows = d.batch * d.seq;
    const bool aligned = aligned_16({args.dout, args.dz}, {d.cols * kBytes});
    const Backward<T> backward{static_cast<const T*>(args.dout), BranchGradient<T>(args)};
    if (!args.dbias) {
      if (args.dz == nullptr) return;
      launch_each_row_piece<kVectorSize<T>>(stream, "residual_backward", rows, d.cols, aligned, backward);
    } else {
      sum_columns<kVectorSize<T>>(stream, "residual_backward", backward,
                                  {.outer = 1, .rows = rows, .cols = d.cols, .aligned = aligned}, args.dbias);
    }
  });
}

}  // namespace triptych::kernels
