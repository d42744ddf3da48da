#include "training/trained_model.h"

#include <optional>

#include "parallel/agreement.h"
#include "training/finite.h"
#include "training/held_out.h"
#include "training/run_checkpoint.h"
#include "training/run_inputs.h"

namespace triptych::training {

TrainedModel::TrainedModel(const RunConfig& config, World& world, const std::string& checkpoint) {
  Group& group = world.group();
  std::optional<CheckpointReader> reader;
  together(group, [&] {
    reader.emplace(CheckpointReader::open(checkpoints_of(config), checkpoint));
    folder_ = reader->folder();
    step_ = reader->manifest().run.step;
    tokenizer_ = read_tokenizer(*reader, *config.task);
  });
  require_equal_facts(group, folder_.string(), world.host(), {{"checkpoint (hash)", reader->contents_id()}},
                      "Put the same checkpoints before every node: an older copy may be left on one");
  session_ = std::make_unique<Session>(config, group, rank_place(config, world));
  together(group, [&] {
    require_same_model(*reader, *session_);
    load_parameters(*reader, *session_, config.evaluation.weights);
    require_finite_model(first_not_finite(*session_), folder_);
  });
  inference_ = std::make_unique<Inference>(session_->device(), session_->mesh(), session_->executor(),
                                           inference_options(config));
}

}  // namespace triptych::training
