#include "training/merge_adapters.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "kernels/matmul.h"
#include "nn/adapter.h"
#include "parallel/agreement.h"
#include "training/run_checkpoint.h"
#include "training/trained_model.h"

namespace triptych::training {

MergeResult merge_adapters(const RunConfig& config, World& world, const std::string& checkpoint,
                           const std::filesystem::path& out) {
  Group& group = world.group();
  together(group, [&] {
    if (config.adapters.empty()) {
      throw UserError("adapters",
                      "there is nothing to merge without adapters, found none in the config. Use the config "
                      "of the run that has them");
    }
    if (group.rank() == 0 && !list_steps(out).empty()) {
      throw UserError(out.string(), "must be a folder without checkpoints. Choose another --out");
    }
  });
  TrainedModel model(config, world, checkpoint);
  Session& session = model.session();
  world.doing("merging adapters");
  if (config.training.tf32) allow_tf32(session.device().stream(), false);

  MergeResult result{.from = model.folder(), .folder = {}};
  std::set<std::string> names;
  for (const PlacedParameter& one : session.executor().parameters()) names.insert(one.name);
  result.num_adapters = std::count_if(names.begin(), names.end(),
                                      [&](const std::string& name) { return names.contains(adapter_a_name(name)); });
  std::set<const Parameter*> adapters;
  std::vector<AdamW::State> plain;
  for (Parameter* parameter : session.store().all()) {
    if (!parameter->adapter) continue;
    merge_adapter(*parameter);
    adapters.insert({parameter->adapter->a, parameter->adapter->b});
  }
  for (Parameter* parameter : session.store().all()) {
    if (!adapters.contains(parameter)) plain.push_back({.parameter = parameter});
  }

  RunState state;
  together(group, [&] { state = CheckpointReader::open(model.folder(), kLatestName).manifest().run; });
  state.model = config.task->model().fingerprint;
  const MeshShape& mesh = session.mesh().shape();
  state.mesh = {{"pp", mesh.pp}, {"dp", mesh.dp}, {"tp", mesh.tp}};
  CheckpointWriter writer(out, 0, group);
  const OwnedPieces owned = owned_pieces(session.mesh(), plain);
  result.folder = writer.save(state, owned.pieces, extra_files(model.tokenizer().get())).folder;
  return result;
}

}  // namespace triptych::training
