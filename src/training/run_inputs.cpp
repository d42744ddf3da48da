#include "training/run_inputs.h"

#include "checkpoint/checkpoint_folder.h"
#include "training/run_checkpoint.h"

namespace triptych::training {
namespace {

std::shared_ptr<const Tokenizer> open_tokenizer(const RunConfig& config) {
  const std::filesystem::path path = config.data.tokenizer.empty()
                                         ? std::filesystem::path(config.data.path) / "tokenizer.model"
                                         : std::filesystem::path(config.data.tokenizer);
  if (!std::filesystem::exists(path)) {
    throw UserError(path.string(),
                    fmt::format("there is no tokenizer. Make one: triptych tokenizer train {}", config.data.path));
  }
  return Tokenizer::from_file(path);
}

}  // namespace

std::filesystem::path checkpoints_of(const RunConfig& config) {
  return std::filesystem::path(config.run.dir) / "checkpoints";
}

RunInputs open_run_inputs(const RunConfig& config, const TrainingRequest& request) {
  if (config.data.path.empty()) throw UserError("data.path", "must name a data set. Set it in the config");
  RunInputs inputs;
  inputs.dataset = std::make_shared<const Dataset>(Dataset::open(config.data.path));
  config.task->check_data(*inputs.dataset);
  if (!request.resume.empty()) {
    inputs.checkpoint.emplace(CheckpointReader::open(checkpoints_of(config), request.resume));
    inputs.tokenizer = read_tokenizer(*inputs.checkpoint, *config.task);
  } else {
    if (!request.overwrite && !list_steps(checkpoints_of(config)).empty()) {
      throw UserError(config.run.dir,
                      "holds a run already. Go on with `--resume latest`, choose another run.dir, or "
                      "replace it with `--overwrite`");
    }
    if (config.task->vocabulary() > 0) inputs.tokenizer = open_tokenizer(config);
  }
  if (inputs.tokenizer) inputs.tokenizer->check_fits(config.task->vocabulary());
  return inputs;
}

}  // namespace triptych::training
