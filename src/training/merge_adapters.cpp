#include "training/merge_adapters.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/checkpoint_writer.h"
#include "checkpoint/manifest.h"
#include "kernels/matmul.h"
#include "nn/adapter.h"
#include "parallel/agreement.h"
#include "training/run_checkpoint.h"
#include "training/run_inputs.h"
#include "training/trained_model.h"

namespace triptych::training {

namespace {

// Whether `out` holds nothing but what an earlier merge to the same step left that failed before `latest` named it.
bool is_unfinished_merge(const std::filesystem::path& out, int64_t step, const std::string& model) {
  if (list_steps(out) != std::vector{step} || std::filesystem::exists(out / kLatestName)) return false;
  const Manifest left = read_manifest(out / step_folder_name(step) / kManifestName);
  return left.run.model == model && std::none_of(left.tensors.begin(), left.tensors.end(),
                                                 [](const auto& tensor) { return tensor.first.ends_with("_moment"); });
}

void require_free(const std::filesystem::path& out, int64_t step, const std::string& model) {
  if (list_steps(out).empty() || is_unfinished_merge(out, step, model)) return;
  throw UserError(out.string(), "must be a folder without checkpoints. Choose another --out");
}

}  // namespace

MergeResult merge_adapters(const RunConfig& config, World& world, const std::string& checkpoint,
                           const std::filesystem::path& out) {
  Group& group = world.group();
  together(group, [&] {
    if (config.adapters.empty()) {
      throw UserError("adapters",
                      "there is nothing to merge without adapters, found none in the config. Use the config "
                      "of the run that has them");
    }
    if (group.rank() == 0) {
      const CheckpointReader reader = CheckpointReader::open(checkpoints_of(config), checkpoint);
      require_free(out, reader.manifest().run.step, config.task->model().fingerprint);
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
  state.mesh = {{"pp", mesh.pp}, {"dp", mesh.dp}, {"cp", mesh.cp}, {"tp", mesh.tp}};
  CheckpointWriter writer(out, 0, group);
  const OwnedPieces owned = owned_pieces(session.mesh(), plain);
  result.folder = writer.save(state, owned.pieces, extra_files(model.tokenizer().get())).folder;
  return result;
}

}  // namespace triptych::training
