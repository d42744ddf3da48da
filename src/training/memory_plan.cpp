#include "training/memory_plan.h"

#include <algorithm>

#include "base/error.h"
#include "data/field_source.h"
#include "device/backend.h"
#include "optim/adamw.h"
#include "parallel/paper_world.h"
#include "training/session.h"
#include "training/step.h"

namespace triptych::training {
namespace {

// The first shows the reducer how gradients come out; from the second on a step is like all others.
constexpr int kNumSteps = 3;

Fields empty_batch(Session& session, const RunConfig& config) {
  const std::vector<std::string> names = session.executor().fields();
  Fields batch(config.training.global_batch / config.parallel.mesh.dp);
  for (const FieldSpec& spec : fields_of(sources_of(config.task->fields(nullptr), names))) {
    if (std::find(names.begin(), names.end(), spec.name) == names.end()) continue;
    batch.set(spec.name,
              Tensor::empty(session.device(), spec.dtype, spec.batch_shape(batch.num_samples()), MemoryPart::kBatches));
  }
  return batch;
}

}  // namespace

std::vector<MemoryStats> plan_memory(const RunConfig& config, int num_batches) {
  TRIPTYCH_CHECK(backend_kind() == "paper", "memory is planned on paper, this program computes on {}", backend_kind());
  std::vector<MemoryStats> ranks(static_cast<std::size_t>(config.parallel.mesh.pp));
  run_on_paper(config.parallel.mesh, [&](Group& world) {
    Session session(config, world, RankPlace{});
    AdamW optimizer(session.device(), session.store().all(), config.adamw, session.treatments());
    TrainingStep steps(session, optimizer);
    std::vector<Fields> batches;
    for (int i = 0; i < num_batches; ++i) batches.push_back(empty_batch(session, config));
    for (int64_t step = 0; step < kNumSteps; ++step) {
      steps.run(batches.front().cut(config.parallel.microbatches), step, config.learning_rate.peak);
      steps.take(0);
    }
    ranks[static_cast<std::size_t>(session.mesh().coordinate().pp)] = session.device().memory();
  });
  return ranks;
}

std::size_t peak_bytes(const std::vector<MemoryStats>& ranks) {
  std::size_t most = 0;
  for (const MemoryStats& rank : ranks) most = std::max(most, rank.peak_used_bytes);
  return most;
}

}  // namespace triptych::training
