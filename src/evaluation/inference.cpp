#include "evaluation/inference.h"

#include <algorithm>

#include "base/console.h"
#include "data/field_sources.h"
#include "execution/batch_feeder.h"
#include "execution/group_agreement.h"
#include "parallel/redistribute.h"

namespace triptych::evaluation {

std::vector<float> Inference::to_all_hosts(const Variable& value) {
  Group& world = mesh_->world();
  const int root = mesh_world_rank(mesh_->shape(), {.pp = executor_->last_stage_rank()});
  std::vector<float> values;
  if (value.defined()) {
    const Tensor whole =
        redistribute(value.tensor(), value.global_shape(), value.layout(), Layout(), *mesh_).contiguous();
    if (world.rank() == root) values = whole.to(DType::kFloat32).to_vector<float>();
  }
  if (world.size() == 1) return values;
  auto count = static_cast<int64_t>(values.size());
  world.broadcast(&count, 1, DType::kInt64, root)->wait();
  values.resize(static_cast<std::size_t>(count));
  world.broadcast(values.data(), count, DType::kFloat32, root)->wait();
  return values;
}

std::vector<float> Inference::infer(const Fields& data, const std::string& output) {
  const Values values = executor_->infer(data, std::span(&output, 1));
  std::vector<float> rows = to_all_hosts(values.empty() ? Variable() : value_of(values, output));
  rows.resize(rows.size() / static_cast<std::size_t>(mesh_->size(Axis::kDp)));  // each replica computed the same ones
  return rows;
}

void Inference::tell_left_out(const Dataset& dataset, const LoaderStats& stats) {
  if (!is_first() || stats.num_bad == 0 || !told_.insert(dataset.path().string()).second) return;
  print_warning(fmt::format("{}: {} of {} samples cannot be used and are left out, the first being {}: {}",
                            dataset.path().string(), stats.num_bad_samples, dataset.size(), stats.bad.front().name,
                            stats.bad.front().reason));
}

void Inference::for_batches(const std::shared_ptr<const Dataset>& dataset, LoaderOptions options,
                            const std::function<void(Batch&)>& consume, int64_t most_items) {
  const std::unique_ptr<RowAgreement> agreement = make_row_agreement(mesh_->world());
  options.agreement = agreement.get();
  options.threads = options_.threads;
  options.training = false;
  options.text_role = options_.text_role;
  options.max_bad_fraction = 1;  // left out and told, not an end
  const int64_t batch_size = options.global_batch;
  Loader loader(dataset, std::move(options));
  const int64_t wanted = most_items > 0 ? (most_items + batch_size - 1) / batch_size : loader.num_steps();
  for (int64_t step = 0; step < std::min(wanted, loader.num_steps()); ++step) {
    Batch batch = loader.next();
    consume(batch);
    loader.recycle(std::move(batch));
  }
  tell_left_out(*dataset, loader.stats());
}

// The first `num_items` rows of a global batch, on every rank, from the ranks that have read them: the first of each
// replica.
std::vector<std::byte> Inference::gather_field(const Batch& batch, const std::string& name, int64_t num_items) {
  Group& world = mesh_->world();
  const std::span<const std::byte> mine = batch.bytes(name);
  std::vector<std::byte> all(mine.size() * static_cast<std::size_t>(world.size())), rows;
  world.all_gather(mine.data(), all.data(), static_cast<int64_t>(mine.size()), DType::kUInt8)->wait();
  for (int replica = 0; replica < mesh_->size(Axis::kDp); ++replica) {
    const auto rank = static_cast<std::size_t>(mesh_world_rank(mesh_->shape(), {.dp = replica}));
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(rank * mine.size());
    rows.insert(rows.end(), begin, begin + static_cast<std::ptrdiff_t>(mine.size()));
  }
  rows.resize(mine.size() / static_cast<std::size_t>(batch.num_rows()) * static_cast<std::size_t>(num_items));
  return rows;
}

void Inference::run(std::shared_ptr<const Dataset> dataset, std::span<const FieldSource> sources, EvaluationItems items,
                    std::span<const std::string> outputs, const std::function<void(const InferredRows&)>& consume,
                    std::span<const std::string> fields) {
  const int dp = mesh_->size(Axis::kDp);
  const std::vector<std::string> names = executor_->fields(outputs);
  const uint64_t num_items =
      items == EvaluationItems::kCaptions ? dataset->num_texts(options_.text_role) : dataset->size();
  const int64_t rows = (std::min(options_.batch, static_cast<int64_t>(num_items)) + dp - 1) / dp;
  LoaderOptions options;
  std::vector<std::string> loaded = names;
  loaded.insert(loaded.end(), fields.begin(), fields.end());
  options.fields = sources_of(sources, loaded);
  const bool has_presence = std::ranges::any_of(fields_of(options.fields),
                                                [](const FieldSpec& field) { return field.name == "image_present"; });
  if (!has_presence) options.fields.push_back(presence_fields());
  options.global_batch = rows * dp;
  options.dp_rank = mesh_->rank(Axis::kDp);
  options.dp_size = dp;
  options.items = items;
  for_batches(dataset, std::move(options), [&](Batch& batch) {
    const Values values = executor_->infer(to_device(*device_, batch, names), outputs);
    InferredRows result;
    result.first_item = static_cast<uint64_t>(batch.step * rows * dp);
    result.num_items = std::min(rows * dp, static_cast<int64_t>(num_items - result.first_item));
    for (const std::string& name : outputs) {
      std::vector<float> all = to_all_hosts(values.empty() ? Variable() : value_of(values, name));
      all.resize(all.size() / static_cast<std::size_t>(rows * dp) * static_cast<std::size_t>(result.num_items));
      result.outputs[name] = std::move(all);
    }
    for (const std::string& name : fields) result.fields[name] = gather_field(batch, name, result.num_items);
    const auto present = [&](const char* name) {
      std::vector<bool> marks;
      for (const std::byte mark : gather_field(batch, name, result.num_items)) marks.push_back(mark != std::byte{0});
      return marks;
    };
    result.image_present = present("image_present");
    result.text_present = present("text_present");
    consume(result);
  });
}

}  // namespace triptych::evaluation
