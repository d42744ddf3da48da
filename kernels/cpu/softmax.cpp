#include "kernels/softmax.h"

#include <cmath>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/softmax.cpp"
#include "kernels/cpu/online_sum.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void softmax_forward_rows(const SoftmaxForwardArgs& args, bool log, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(args.x) + row * args.cols;
      T* y = static_cast<T*>(args.y) + row * args.cols;
      OnlineSum row_sum{kLowest, 0.0f};
      row_sum.add(x, args.cols);
      const Vec maximum = hn::Set(kFloats, row_sum.maximum);
      if (log) {
        const Vec log_sum = hn::Set(kFloats, std::log(row_sum.sum));
        for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
          store(hn::Sub(hn::Sub(load(x + i, part), maximum), log_sum), y + i, part);
        });
      } else {
        const Vec factor = hn::Set(kFloats, 1.0f / row_sum.sum);
        for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
          store(hn::Mul(exp_or_nan(hn::Sub(load(x + i, part), maximum)), factor), y + i, part);
        });
      }
    }
  });
}

void softmax_backward_rows(const SoftmaxBackwardArgs& args, bool log, int64_t begin, int64_t end) {
  with_float_type(args.dtype, [&](auto type) HWY_ATTR {
    using T = decltype(type);
    for (int64_t row = begin; row < end; ++row) {
      const T* dy = static_cast<const T*>(args.dy) + row * args.cols;
      const T* y = static_cast<const T*>(args.y) + row * args.cols;
      T* dx = static_cast<T*>(args.dx) + row * args.cols;
      if (log) {
        const Vec sum =
            hn::Set(kFloats, sum_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR { return load(dy + i, part); }));
        for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
          store(hn::NegMulAdd(exp_or_nan(load(y + i, part)), sum, load(dy + i, part)), dx + i, part);
        });
      } else {
        const Vec dot = hn::Set(kFloats, sum_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
                                  return hn::Mul(load(dy + i, part), load(y + i, part));
                                }));
        for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
          store(hn::Mul(load(y + i, part), hn::Sub(load(dy + i, part), dot)), dx + i, part);
        });
      }
    }
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(softmax_forward_rows);
HWY_EXPORT(softmax_backward_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

namespace {

void forward(Stream& stream, const SoftmaxForwardArgs& args, const char* kernel, bool log) {
  check_float_dtype(args.dtype, kernel);
  parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(softmax_forward_rows)(args, log, begin, end);
  });
}

void backward(Stream& stream, const SoftmaxBackwardArgs& args, const char* kernel, bool log) {
  check_float_dtype(args.dtype, kernel);
  parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(softmax_backward_rows)(args, log, begin, end);
  });
}

}  // namespace

void softmax_forward(Stream& stream, const SoftmaxForwardArgs& args) {
  forward(stream, args, "softmax_forward", false);
}

void softmax_backward(Stream& stream, const SoftmaxBackwardArgs& args) {
  backward(stream, args, "softmax_backward", false);
}

void log_softmax_forward(Stream& stream, const SoftmaxForwardArgs& args) {
  forward(stream, args, "log_softmax_forward", true);
}

void log_softmax_backward(Stream& stream, const SoftmaxBackwardArgs& args) {
  backward(stream, args, "log_softmax_backward", true);
}

}  // namespace triptych::kernels
#endif
