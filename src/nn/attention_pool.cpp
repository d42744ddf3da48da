#include "nn/attention_pool.h"

#include "ops/add.h"
#include "ops/broadcast.h"
#include "ops/pooling.h"

namespace triptych::nn {
namespace {

Variable with_bias(const Variable& x, Parameter* bias, const Pass& pass) {
  return bias != nullptr ? add(x, pass.use(*bias)) : x;
}

}  // namespace

AttentionPool::AttentionPool(ParameterStore& store, const std::string& name, int64_t width, int64_t num_queries,
                             int64_t num_heads, const std::optional<NormConfig>& norm, bool biases)
    : queries_(&store.create(name + ".queries", Shape{num_queries, width}, "replicated",
                             {.standard_deviation = 1, .decay = true, .in_compute_dtype = true})),
      norm_(store, name + ".norm", width, norm),
      attention_(store, name, width, width, num_heads, 1, biases) {}

Variable AttentionPool::forward(const Variable& x, const Pass& pass) const {
  const Variable queries = broadcast(pass.use(*queries_), x.global_shape()[0], pass.layout("batch"), pass.mesh);
  const Variable pooled = attention_.pool(queries, norm_.forward(x, pass), pass);
  return with_bias(pooled, attention_.out_bias(), pass);
}

AttentionPoolHead::AttentionPoolHead(ParameterStore& store, const std::string& name, const Config& config)
    : pool_(store, name, config.width, 1, config.num_heads, config.input_norm, config.biases),
      norm_(store, name + ".feed_forward.norm", config.width, config.norm),
      feed_forward_(store, name + ".feed_forward", config.feed_forward_config(), 1) {}

Variable AttentionPoolHead::forward(const Variable& x, const Pass& pass) const {
  const Variable pooled = pool_.forward(x, pass);
  const Variable fed =
      feed_forward_.forward(norm_.forward(pooled, pass), pass, {.inside = "batch", .outside = "batch"});
  return select_token(add(pooled, with_bias(fed, feed_forward_.out_bias(), pass)), Tensor());
}

}  // namespace triptych::nn
