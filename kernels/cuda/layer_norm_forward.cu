#include "base/error.h"
#include "kernels/cuda/layer_norm_forward.cuh"

namespace triptych::kernels {

using namespace cuda;

void layer_norm_forward(Stream& stream, const LayerNormForwardArgs& args) {
  TRIPTYCH_CHECK(args.cols > 0, "A row needs elements, found cols = {}.", args.cols);
  with_float_type(args.dtype, "layer_norm_forward", [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int64_t kBytes = sizeof(T);
    launch_layer_norm_forward<T>(stream, "layer_norm_forward", args,
                                 StoredRow<T>{static_cast<const T*>(args.x), args.cols},
                                 aligned_16({args.x, args.weight, args.bias, args.y}, {args.cols * kBytes}));
  });
}

}  // namespace triptych::kernels
