#include "tasks/explain.h"

#include <algorithm>
#include <cmath>

#include "data/pixel_reader.h"
#include "evaluation/inference.h"
#include "tasks/explained_maps.h"
#include "tasks/text_rows.h"

namespace triptych::tasks {
namespace {

constexpr std::size_t kShownScores = 5;
const std::string kImageEmbedding = "image_embedding", kTextEmbedding = "text_embedding", kLogits = "logits",
                  kImage = "image";

using Pooling = ImageEncoderConfig::Pooling;

std::vector<uint8_t> pixels_of(const ExplainInputs& inputs, const ExplainedModel& model) {
  try {
    return read_for_evaluation(inputs.image, static_cast<uint32_t>(model.image.size), model.picture);
  } catch (const WorldError& error) {
    throw UserError(inputs.name, fmt::format("must be a picture, it cannot be read: {}. Name a JPEG, PNG or WebP file",
                                             error.what()));
  }
}

// What was observed, as explanations look at it.
class Observed {
 public:
  Observed(Inference& inference, Observation seen) : inference_(inference), seen_(std::move(seen)) {}

  // An output of the one picture, on every rank.
  std::vector<float> values(const std::string& slot) const {
    std::vector<float> all =
        inference_.to_all_hosts(seen_.outputs.empty() ? Variable() : value_of(seen_.outputs, slot));
    all.resize(all.size() / static_cast<std::size_t>(inference_.mesh().size(Axis::kDp)));  // replicas have the same
    return all;
  }
  // Brings `gradient` of that output back to what the attentions made.
  void run_backward(const std::string& slot, const std::vector<float>& gradient) const {
    std::map<std::string, Gradient> seeds;
    if (!seen_.outputs.empty()) {
      const Variable& of = value_of(seen_.outputs, slot);
      seeds[slot] = {Tensor::from<float>(of.tensor().device(), of.tensor().shape(), gradient),
                     of.layout().of_gradient()};
    }
    inference_.executor().run_backward(seen_, std::move(seeds));
  }

 private:
  Inference& inference_;
  Observation seen_;
};

std::string class_name(const ExplainInputs& inputs, const ExplainedModel& model, std::size_t number) {
  return number < inputs.class_names.size() ? inputs.class_names[number]
                                            : fmt::format("{} {}", model.class_word, number);
}

// Runs backward from the score of the class in question, and says what that is.
void explain_class(const Observed& observed, const ExplainInputs& inputs, const ExplainedModel& model,
                   Explanation& explanation) {
  const std::vector<float> scores = observed.values(model.class_slot);
  const auto best = std::max_element(scores.begin(), scores.end());
  const auto count = static_cast<int64_t>(scores.size());
  const int64_t number = inputs.class_number.value_or(best - scores.begin());
  if (number < 0 || number >= count) {
    throw UserError("--class", fmt::format("must be a class of the model, 0 to {}, found {}. Name one of these",
                                           count - 1, number));
  }
  double sum = 0;
  for (const float score : scores) sum += std::exp(static_cast<double>(score - *best));
  for (std::size_t c = 0; c < scores.size(); ++c) {
    explanation.scores.emplace_back(class_name(inputs, model, c),
                                    std::exp(static_cast<double>(scores[c] - *best)) / sum);
  }
  std::stable_sort(explanation.scores.begin(), explanation.scores.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  explanation.scores.resize(std::min(explanation.scores.size(), kShownScores));
  explanation.subject =
      fmt::format("the {} {}", model.class_word, class_name(inputs, model, static_cast<std::size_t>(number)));
  std::vector<float> seed(scores.size(), 0);
  seed[static_cast<std::size_t>(number)] = 1;
  observed.run_backward(model.class_slot, seed);
}

// The same of the similarity with the text, a product of embeddings.
void explain_similarity(const Observed& observed, Explanation& explanation) {
  const std::vector<float> a = observed.values(kImageEmbedding), b = observed.values(kTextEmbedding);
  double similarity = 0;
  for (std::size_t d = 0; d < a.size(); ++d) similarity += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  explanation.scores.emplace_back(fmt::format("similarity with \"{}\"", explanation.text), similarity);
  explanation.subject = fmt::format("the similarity with \"{}\"", explanation.text);
  observed.run_backward(kImageEmbedding, b);
}

// A text as the model reads it, begin and end with it.
std::vector<int32_t> tokens_of(const Tokenizer& tokenizer, const std::string& text, int64_t length) {
  std::vector<int32_t> tokens(static_cast<std::size_t>(length));
  tokens.resize(static_cast<std::size_t>(tokenizer.encode(text, tokens)));
  return tokens;
}

// What a decoder reads: a text, or a question and, apart from it, the answer, of which alone there are words to show.
struct ReadText {
  std::vector<int32_t> tokens;
  int64_t first_word = 1;
};

ReadText read_answer(const Tokenizer& tokenizer, const std::string& question, const std::string& answer,
                     int64_t length) {
  ReadText read{.tokens = tokens_of(tokenizer, question, length), .first_word = 1};
  read.tokens.resize(read.tokens.size() - tokenizer.after().size());
  read.first_word = static_cast<int64_t>(read.tokens.size());
  const std::vector<int32_t> more = tokens_of(tokenizer, answer, length);
  read.tokens.insert(read.tokens.end(), more.begin() + std::ssize(tokenizer.before()), more.end());
  read.tokens.resize(std::min(read.tokens.size(), static_cast<std::size_t>(length)));
  return read;
}

void set_text(Fields& fields, Device& device, std::vector<int32_t> tokens, int64_t length, int32_t pad) {
  const auto count = static_cast<int32_t>(tokens.size());
  tokens.resize(static_cast<std::size_t>(length), pad);
  fields.set("tokens", Tensor::from<int32_t>(device, Shape{1, length}, std::span<const int32_t>(tokens)));
  fields.set("lengths", Tensor::from<int32_t>(device, Shape{1}, std::span(&count, 1)));
}

void set_flag(Fields& fields, Device& device, const char* name, bool value) {
  const uint8_t flag = value ? 1 : 0;
  fields.set(name, Tensor::from<uint8_t>(device, Shape{1}, std::span(&flag, 1)));
}

}  // namespace

std::string pool_attention(const ImageEncoderConfig& config) {
  return config.pooling == Pooling::kAttention ? "image.pool" : "";
}

Explanation explain_image(Inference& inference, const ExplainInputs& inputs, const ExplainedModel& model,
                          const CaptionWriter& write) {
  if (inputs.class_number && model.class_slot.empty()) {
    throw UserError("--class", "a model of this task has no classes. Leave it out");
  }
  if (!inputs.text.empty() && model.text_length == 0) {
    throw UserError("--text", "a model of this task reads no text. Leave it out");
  }
  if (inputs.text.empty() && model.answers) {
    throw UserError("--text", "this model answers questions, found none. Name one");
  }
  Explanation explanation{.side = model.image.size / model.image.patch,
                          .size = model.image.size,
                          .pixels = pixels_of(inputs, model),
                          .subject = {},
                          .text = inputs.text,
                          .scores = {},
                          .layers = {},
                          .maps = {},
                          .words = {},
                          .gates = {}};
  Device& device = inference.device();
  Fields fields(1);
  fields.set("pixels", Tensor::from<uint8_t>(device, Shape{1, explanation.size, explanation.size, 3},
                                             std::span<const uint8_t>(explanation.pixels)));
  const std::string written = write && (explanation.text.empty() || model.answers) ? write(fields) : "";
  ReadText read;
  if (model.answers) {
    read = read_answer(*inputs.tokenizer, inputs.text, written, model.text_length);
    explanation.text = fmt::format("{} {}", inputs.text, written);
  } else if (model.text_length > 0) {
    if (explanation.text.empty()) explanation.text = written;
    read.tokens = tokens_of(*inputs.tokenizer, explanation.text, model.text_length);
    read.first_word = std::max<int64_t>(1, std::ssize(inputs.tokenizer->before()));  // the first is nobody's choice
  }
  const bool has_text = !explanation.text.empty(), decodes = !model.decoder.empty() && has_text;
  if (model.text_length > 0) set_text(fields, device, read.tokens, model.text_length, inputs.tokenizer->special().pad);
  set_flag(fields, device, "image_present", true);
  set_flag(fields, device, "text_present", has_text);
  std::vector<std::string> outputs;
  if (!model.class_slot.empty()) outputs.push_back(model.class_slot);
  if (model.has_embeddings) outputs.push_back(kImageEmbedding);
  if (model.has_embeddings && has_text) outputs.push_back(kTextEmbedding);
  if (decodes) outputs.push_back(kLogits);
  if (outputs.empty()) outputs.push_back(kImage);  // of a decoder that has written nothing

  Executor& executor = inference.executor();
  executor.set_trained([](const std::string&) { return false; });
  AttentionSink sink;
  const Observed observed(inference, executor.observe(fields, outputs, sink));
  if (!model.class_slot.empty()) explain_class(observed, inputs, model, explanation);
  if (model.has_embeddings && has_text) explain_similarity(observed, explanation);
  const std::vector<AttentionWeights> weights = all_attention_weights(
      sink, 0, inference.mesh(), [&](const std::string& name) { return is_explained(name, model); });
  add_attention_maps(weights, model, explanation);
  if (decodes) add_word_maps(weights, model, *inputs.tokenizer, read.tokens, read.first_word, explanation);
  return explanation;
}

std::vector<std::pair<std::string, double>> gate_values(const std::vector<Parameter*>& parameters) {
  std::vector<std::pair<std::string, double>> gates;
  for (const Parameter* parameter : parameters) {
    if (!parameter->name.ends_with("gate") || parameter->global_shape.num_elements() != 1) continue;
    gates.emplace_back(parameter->name, parameter->compute.to_vector<float>().at(0));
  }
  return gates;
}

}  // namespace triptych::tasks
