#include "training/training_batches.h"

#include <string>
#include <utility>
#include <vector>

#include "base/console.h"
#include "execution/group_agreement.h"

namespace triptych::training {

TrainingBatches::TrainingBatches(const RunConfig& config, Session& session, Group& group, const RunInputs& inputs,
                                 int64_t step) {
  const std::vector<std::string> names = session.executor().fields();
  const Mesh& mesh = session.mesh();
  LoaderOptions options;
  options.fields = sources_of(config.task->fields(inputs.tokenizer), names);
  options.check_unused_images = false;  // a rank that reads the images tells the others
  options.global_batch = config.training.global_batch;
  options.dp_rank = mesh.rank(Axis::kDp);
  options.dp_size = mesh.size(Axis::kDp);
  options.seed = config.run.seed;
  options.threads = config.data.threads;
  options.prefetch = config.data.prefetch;
  options.max_bad_fraction = config.data.max_bad_fraction;
  options.text_role = config.task->text_role();
  options.modality_dropout = config.data.modality_dropout;
  options.weights = inputs.weights;
  options.shuffle_shards = static_cast<uint64_t>(config.data.shuffle_shards);
  options.start_step = step;
  agreement_ = make_row_agreement(group);
  options.agreement = agreement_.get();
  if (group.rank() == 0) {
    options.on_bad_sample = [](const BadSample& bad) {
      print_warning(fmt::format("{} is replaced: {}", bad.name, bad.reason));
    };
  }
  loader_.emplace(inputs.dataset, std::move(options));
  feeder_.emplace(session.device(), *loader_, names);
}

}  // namespace triptych::training
