#include "training/retrieval.h"

#include <algorithm>
#include <numeric>

#include "kernels/matmul.h"

namespace triptych {

Embedder::Embedder(const RunConfig& config, const std::string& checkpoint)
    : config_(config), group_(make_self_group("world")) {
  CheckpointReader reader = CheckpointReader::open(std::filesystem::path(config.run.dir) / "checkpoints", checkpoint);
  folder_ = reader.folder();
  config_.parallel = ParallelOptions();
  session_ = std::make_unique<Session>(config_, *group_, rank_place(config_, 0, 1));
  if (reader.manifest().run.model != session_->model().fingerprint) {
    throw UserError(folder_.string(),
                    fmt::format("is a checkpoint of another model.\n  checkpoint: {}\n  config:     {}\n"
                                "Use the config it was made with: config.toml in its run's folder",
                                reader.manifest().run.model, session_->model().fingerprint));
  }
  load_parameters(reader, *session_);
  tokenizer_ = Tokenizer::from_bytes(reader.read_file("tokenizer.model"), folder_.string());
}

Embedder::Embeddings Embedder::embed(std::shared_ptr<const Dataset> dataset) {
  const auto size = static_cast<int64_t>(dataset->size());
  LoaderOptions options;
  options.fields = field_sources(config_.model, tokenizer_);
  options.fields.push_back(presence_fields());
  options.global_batch = std::min(config_.evaluation.batch, size);
  options.threads = config_.data.threads;
  options.training = false;
  options.max_bad_fraction = config_.data.max_bad_fraction;
  Loader loader(dataset, std::move(options));
  const std::vector<std::string> names = session_->executor().fields();
  Embeddings result;
  const auto count = static_cast<std::size_t>(size * width());
  result.images.assign(count, 0);
  result.texts.assign(count, 0);
  for (int64_t step = 0; step < loader.num_steps(); ++step) {
    Batch batch = loader.next();
    const auto [image_rows, text_rows] = session_->executor().embed(to_device(session_->device(), batch, names));
    const auto image_present = batch.values<uint8_t>("image_present");
    const auto text_present = batch.values<uint8_t>("text_present");
    const std::vector<float> images = image_rows.to_vector<float>(), texts = text_rows.to_vector<float>();
    for (std::size_t row = 0; row < batch.sample_ids.size(); ++row) {
      if (batch.sample_ids[row] == kNoSample) continue;
      const auto from = static_cast<int64_t>(row) * width();
      const auto to = static_cast<std::ptrdiff_t>(batch.sample_ids[row]) * width();
      if (image_present[row] != 0) {
        std::copy_n(images.begin() + from, width(), result.images.begin() + to);
      }
      if (text_present[row] != 0) std::copy_n(texts.begin() + from, width(), result.texts.begin() + to);
    }
    loader.recycle(std::move(batch));
  }
  return result;
}

std::vector<float> Embedder::embed_texts(const std::vector<std::string>& texts) {
  const auto rows = static_cast<int64_t>(texts.size());
  const int64_t size = config_.model.image.size;
  const auto length = static_cast<std::size_t>(config_.model.text.length);
  std::vector<int32_t> tokens(texts.size() * length), lengths;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    lengths.push_back(tokenizer_->encode(texts[i], std::span(tokens).subspan(i * length, length)));
  }
  Device& device = session_->device();
  Fields data(rows);
  data.set("pixels", Tensor::zeros(device, DType::kUInt8, Shape{rows, size, size, 3}, MemoryPart::kBatches));
  data.set("tokens", Tensor::from<int32_t>(device, Shape{rows, config_.model.text.length}, tokens));
  data.set("lengths", Tensor::from<int32_t>(device, Shape{rows}, lengths));
  return session_->executor().embed(data).second.to_vector<float>();
}

std::vector<float> similarities(Device& device, const std::vector<float>& queries, const std::vector<float>& candidates,
                                int64_t width) {
  const auto m = static_cast<int64_t>(queries.size()) / width, n = static_cast<int64_t>(candidates.size()) / width;
  const Tensor a = Tensor::from<float>(device, Shape{m, width}, queries);
  const Tensor b = Tensor::from<float>(device, Shape{n, width}, candidates);
  const Tensor scores = Tensor::empty(device, DType::kFloat32, Shape{m, n});
  matmul(device.stream(),
         {.m = m, .n = n, .k = width, .a = a.raw(), .b = b.raw(), .transpose_b = true, .c = scores.raw()});
  return scores.to_vector<float>();
}

std::vector<int64_t> best(const float* scores, int64_t count, int64_t stride, int64_t k) {
  std::vector<int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  k = std::min(k, count);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
    const float x = scores[a * stride], y = scores[b * stride];
    return x != y ? x > y : a < b;
  });
  order.resize(static_cast<std::size_t>(k));
  return order;
}

std::vector<std::string> first_captions(const Dataset& dataset) {
  std::vector<std::string> captions(dataset.size());
  SampleBuffer buffer;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    dataset.read(i, buffer, SampleParts::kCaptions);
    if (buffer.num_captions() > 0) captions[i] = std::string(buffer.caption(0));
  }
  return captions;
}

}  // namespace triptych
