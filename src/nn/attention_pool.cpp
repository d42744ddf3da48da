#include "nn/attention_pool.h"

#include "ops/add.h"
#include "ops/broadcast.h"

namespace triptych::nn {

AttentionPool::AttentionPool(ParameterStore& store, const std::string& name, int64_t width, int64_t num_queries,
                             int64_t num_heads, const std::optional<NormConfig>& norm)
    : queries_(&store.create(name + ".queries", Shape{num_queries, width}, "replicated",
                             {.standard_deviation = 1, .decay = true, .in_compute_dtype = true})),
      norm_(store, name + ".norm", width, norm),
      attention_(store, name, width, width, num_heads, 1) {}

Variable AttentionPool::forward(const Variable& x, const Pass& pass) const {
  const Variable queries = broadcast(pass.use(*queries_), x.global_shape()[0], pass.layout("batch"), pass.mesh);
  const Variable pooled = attention_.forward(queries, pass.laid_out(norm_.forward(x, pass), "batch"), Tensor(), pass);
  return add(pass.laid_out(pooled, "batch"), pass.use(attention_.out_bias()));
}

}  // namespace triptych::nn
