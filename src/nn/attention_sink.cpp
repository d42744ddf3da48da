#include "nn/attention_sink.h"

#include "ops/add.h"

namespace triptych::nn {

Variable AttentionSink::see(SeenAttention seen, const Variable& o, bool record) {
  Variable result = o;
  if (record) {
    const Tensor zeros = Tensor::zeros(o.tensor().device(), o.dtype(), o.tensor().shape());
    seen.gradient = Variable::leaf(zeros, o.global_shape(), o.layout());
    result = add(o, seen.gradient);
  }
  seen.stage = stage_;
  all_.push_back(std::move(seen));
  return result;
}

}  // namespace triptych::nn
