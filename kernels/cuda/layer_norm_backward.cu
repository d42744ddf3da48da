#include "base/error.h"
#include "kernels/cuda/layer_norm_backward.cuh"

namespace triptych::kernels {

using namespace cuda;

void layer_norm_backward(Stream& stream, const LayerNormBackwardArgs& args) {
  TRIPTYCH_CHECK(args.cols > 0, "A row needs elements, found cols = {}.", args.cols);
  with_float_type(args.dtype, "layer_norm_backward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    launch_layer_norm_backward<T>(stream, "layer_norm_backward", args, NoBranch(), nullptr,
                                  aligned_16({args.dy, args.x, args.weight, args.add, args.dx}, {args.cols * kBytes}));
  });
}

}  // namespace triptych::kernels
