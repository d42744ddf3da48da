#include "nn/decoding.h"

#include <algorithm>
#include <vector>

#include "kernels/gather.h"

namespace triptych::nn {
namespace {

// Rows of the first dim.
Tensor gather_rows(const Tensor& x, const Tensor& index) {
  const int64_t cols = x.num_elements() / std::max<int64_t>(1, x.size(0));
  const Tensor result = Tensor::empty(x.device(), x.dtype(), x.shape().with(0, index.size(0)));
  gather_tokens(
      x.device().stream(),
      {.x = x.raw(),
       .out = result.raw(),
       .tokens = {.index = index.data<int32_t>(), .batch = 1, .seq = x.size(0), .count = index.size(0), .cols = cols},
       .dtype = x.dtype(),
       .out_dtype = x.dtype()});
  return result;
}

}  // namespace

Tensor DecodingCache::append(const std::string& name, const Tensor& kv) {
  TRIPTYCH_CHECK(position_ < length_, "token {} of at most {}", position_, length_);
  Tensor& all = appended_[name];
  if (!all.defined()) all = Tensor::zeros(kv.device(), kv.dtype(), kv.shape().with(1, kv.size(1) - 1 + length_));
  all.slice(1, first(name), kv.size(1)).copy_from(kv);
  return all;
}

const Tensor& DecodingCache::num_tokens(const std::string& name, Device& device, int64_t rows) {
  const int64_t count = first(name) + 1;
  if (num_tokens_of_ != count || num_tokens_.size(0) != rows) {
    const std::vector<int32_t> counts(static_cast<std::size_t>(rows), static_cast<int32_t>(count));
    num_tokens_ = Tensor::from<int32_t>(device, Shape{rows}, std::span(counts));
    num_tokens_of_ = count;
  }
  return num_tokens_;
}

void DecodingCache::reorder(Device& device, std::span<const int32_t> rows) {
  const Tensor index = Tensor::from<int32_t>(device, Shape{static_cast<int64_t>(rows.size())}, rows);
  for (auto& [name, tensor] : appended_) tensor = gather_rows(tensor, index);
  for (auto& [name, tensor] : kept_) {
    if (tensor.defined()) tensor = gather_rows(tensor, index);
  }
}

}  // namespace triptych::nn
