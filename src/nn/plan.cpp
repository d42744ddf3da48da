#include "nn/plan.h"

#include "nn/embeddings.h"
#include "nn/transformer_block.h"

namespace triptych::nn {

Plan::Plan(std::initializer_list<std::span<const PlanRow>> tables) {
  for (const std::span<const PlanRow> table : tables) {
    for (const PlanRow& row : table) layouts_.insert_or_assign(std::string(row.name), row.layout);
  }
}

const Layout& Plan::operator()(std::string_view name) const {
  const auto found = layouts_.find(name);
  TRIPTYCH_CHECK(found != layouts_.end(), "the parallel plan has no row for {}", name);
  return found->second;
}

Plan tensor_parallel_plan() {
  return Plan({kCommonPlan, kTransformerBlockPlan, kEmbeddingsPlan});
}

Plan sequence_parallel_plan() {
  return Plan({kCommonPlan, kTransformerBlockPlan, kEmbeddingsPlan, kCommonSequencePlan, kEmbeddingsSequencePlan});
}

Plan whole_sequence_plan() {
  return Plan({kCommonPlan, kTransformerBlockPlan, kEmbeddingsPlan, kCommonWholePlan, kEmbeddingsWholePlan});
}

}  // namespace triptych::nn
