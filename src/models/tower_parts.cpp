#include "models/tower_parts.h"

#include <cmath>
#include <memory>

#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/pooling.h"

namespace triptych {
namespace {

class TransformerModelBlock : public Block {
 public:
  TransformerModelBlock(ParameterStore& store, const std::string& name, const TransformerBlockConfig& config,
                        bool sequence_parallel, bool masks_padding)
      : block_(store, name, config, sequence_parallel), masks_padding_(masks_padding) {}

  Variable forward(const Variable& x, const Fields& data, const Pass& pass) const override {
    return block_.forward(x, masks_padding_ ? data["lengths"] : Tensor(), pass);
  }

 private:
  TransformerBlock block_;
  bool masks_padding_;
};

}  // namespace

BlockSpec transformer_block_spec(const std::string& name, const Slot& slot, const TransformerBlockConfig& config,
                                 bool sequence_parallel, bool masks_padding) {
  const double flops = TransformerBlock::forward_flops(config, slot.dims[0]);
  return {.name = name,
          .reads = slot.name,
          .writes = slot,
          .fields = masks_padding ? std::vector<std::string>{"lengths"} : std::vector<std::string>(),
          .forward_flops = flops,
          .backward_flops = 2 * flops,
          .make = [=](ParameterStore& store) {
            return std::make_unique<TransformerModelBlock>(store, name, config, sequence_parallel, masks_padding);
          }};
}

ProjectionHead::ProjectionHead(ParameterStore& store, const std::string& name, int64_t width, int64_t embedding)
    : norm_weight_(&store.create(name + ".norm.weight", Shape{width}, {.mean = 1})),
      norm_bias_(&store.create(name + ".norm.bias", Shape{width}, {})),
      weight_(&store.create(
          name + ".projection.weight", Shape{embedding, width},
          {.standard_deviation = 1 / std::sqrt(static_cast<float>(width)), .decay = true, .in_compute_dtype = true})) {}

Variable ProjectionHead::forward(const Variable& x, const Pass& pass) const {
  const Variable y = layer_norm(x, pass.use(*norm_weight_), pass.use(*norm_bias_));
  return l2_normalize(linear(y, pass.use(*weight_), Variable(), DType::kFloat32));
}

ParameterSpec positions_spec(bool sequence_parallel) {
  return {.standard_deviation = 0.02f, .sees_sequence_shard = sequence_parallel, .decay = true};
}

}  // namespace triptych
