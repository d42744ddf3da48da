#include "execution/count_products.h"

#include "kernels/attention.h"
#include "kernels/matmul.h"

// The names that --wrap gives: calls of a kernel come to __wrap_, the kernel itself is __real_.
#define TRIPTYCH_MATMUL _ZN8triptych7kernels6matmulERNS_6device6StreamERKNS0_6MatmulE
#define TRIPTYCH_ATTENTION_BACKWARD \
  _ZN8triptych7kernels18attention_backwardERNS_6device6StreamERKNS0_17AttentionBackwardE
#define TRIPTYCH_JOIN_(a, b) a##b
#define TRIPTYCH_JOIN(a, b) TRIPTYCH_JOIN_(a, b)

extern "C" {
void TRIPTYCH_JOIN(__real_, TRIPTYCH_MATMUL)(triptych::device::Stream&, const triptych::kernels::Matmul&);
void TRIPTYCH_JOIN(__real_, TRIPTYCH_ATTENTION_BACKWARD)(triptych::device::Stream&,
                                                         const triptych::kernels::AttentionBackward&);

void TRIPTYCH_JOIN(__wrap_, TRIPTYCH_MATMUL)(triptych::device::Stream& stream, const triptych::kernels::Matmul& args) {
  triptych::test::product_count().flops += 2 * args.m * args.n * args.k * args.batch;
  TRIPTYCH_JOIN(__real_, TRIPTYCH_MATMUL)(stream, args);
}

void TRIPTYCH_JOIN(__wrap_, TRIPTYCH_ATTENTION_BACKWARD)(triptych::device::Stream& stream,
                                                         const triptych::kernels::AttentionBackward& args) {
  ++triptych::test::product_count().attention_backwards;
  TRIPTYCH_JOIN(__real_, TRIPTYCH_ATTENTION_BACKWARD)(stream, args);
}
}

namespace triptych::test {

ProductCount& product_count() {
  static ProductCount count;
  return count;
}

}  // namespace triptych::test
