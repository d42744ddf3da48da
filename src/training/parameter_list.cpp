#include "training/parameter_list.h"

#include "models/model.h"
#include "parallel/in_process_group.h"

namespace triptych::training {

std::vector<ListedParameter> list_parameters(const RunConfig& config) {
  std::vector<ListedParameter> list;
  run_ranks(1, [&](Group& alone) {
    Device device(1);
    Mesh mesh(alone, {}, device);
    const Plan plan = tensor_parallel_plan();
    ParameterStore store(device, mesh, plan, config.run.seed, DType::kFloat32, config.adapters, InitialValues::kNone);
    // A block and an objective may keep references to their parameters, but read them in a step alone.
    for (const BlockSpec& block : config.task->model().blocks) block.make(store);
    for (const ObjectiveSpec& objective : config.task->objectives()) objective.make(store);
    for (const Parameter* parameter : store.all()) list.push_back({parameter->name, parameter->global_shape});
  });
  return list;
}

int64_t count_elements(const std::vector<ListedParameter>& parameters) {
  int64_t count = 0;
  for (const ListedParameter& parameter : parameters) count += parameter.shape.num_elements();
  return count;
}

}  // namespace triptych::training
