#include "tasks/explain.h"

#include <algorithm>
#include <cmath>

#include "autograd/backward.h"
#include "data/pixel_reader.h"
#include "evaluation/inference.h"
#include "tasks/text_rows.h"

namespace triptych::tasks {
namespace {

constexpr std::size_t kShownScores = 5;
constexpr std::string_view kSpace = "\xE2\x96\x81";  // "▁", which a piece that begins a word begins with
const std::string kImageEmbedding = "image_embedding", kTextEmbedding = "text_embedding", kLogits = "logits";

using Pooling = ImageEncoderConfig::Pooling;

std::vector<uint8_t> pixels_of(const ExplainInputs& inputs, int64_t size) {
  try {
    return read_center_square(inputs.image, static_cast<uint32_t>(size));
  } catch (const WorldError& error) {
    throw UserError(inputs.name, fmt::format("must be a picture, it cannot be read: {}. Name a JPEG, PNG or WebP file",
                                             error.what()));
  }
}

// How far a backward pass from `of`, [1, n], goes if its gradient is `values`.
void run_backward(const Variable& of, const std::vector<float>& values) {
  const Tensor tensor = Tensor::from<float>(of.tensor().device(), of.tensor().shape(), values);
  const Gradient seed{tensor, of.layout().of_gradient()};
  backward(std::span(&of, 1), std::span(&seed, 1));
}

std::string class_name(const ExplainInputs& inputs, std::size_t number) {
  return number < inputs.class_names.size() ? inputs.class_names[number] : fmt::format("class {}", number);
}

// Runs backward from the score of the class in question, and says what that is.
void explain_class(const Variable& logits, const ExplainInputs& inputs, Explanation& explanation) {
  const std::vector<float> scores = logits.tensor().to_vector<float>();
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
    explanation.scores.emplace_back(class_name(inputs, c), std::exp(static_cast<double>(scores[c] - *best)) / sum);
  }
  std::stable_sort(explanation.scores.begin(), explanation.scores.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  explanation.scores.resize(std::min(explanation.scores.size(), kShownScores));
  explanation.subject = "the class " + class_name(inputs, static_cast<std::size_t>(number));
  std::vector<float> seed(scores.size(), 0);
  seed[static_cast<std::size_t>(number)] = 1;
  run_backward(logits, seed);
}

// The same of the similarity with the text, a product of embeddings.
void explain_similarity(const Variable& image, const Variable& text, Explanation& explanation) {
  const std::vector<float> a = image.tensor().to_vector<float>(), b = text.tensor().to_vector<float>();
  double similarity = 0;
  for (std::size_t d = 0; d < a.size(); ++d) similarity += static_cast<double>(a[d]) * static_cast<double>(b[d]);
  explanation.scores.emplace_back(fmt::format("similarity with \"{}\"", explanation.text), similarity);
  explanation.subject = fmt::format("the similarity with \"{}\"", explanation.text);
  run_backward(image, b);
}

// What of the attentions that were seen the explanation is made of.
struct Weights {
  std::vector<AttentionWeights> encoder;
  std::optional<AttentionWeights> pool, decoder_pool;
  std::vector<AttentionWeights> across;  // the decoder's
};

Weights weights_of(const AttentionSink& sink, const ExplainedModel& model) {
  Weights result;
  for (const SeenAttention& seen : sink.all()) {
    const std::string& name = seen.name;
    if (name.starts_with("image.blocks.")) result.encoder.push_back(attention_weights(seen, 0));
    if (!model.pool.empty() && name == model.pool) result.pool = attention_weights(seen, 0);
    if (!model.decoder_pool.empty() && name == model.decoder_pool) result.decoder_pool = attention_weights(seen, 0);
    if (!model.decoder.empty() && name.starts_with(model.decoder + ".blocks.") && name.ends_with(".cross_attention")) {
      result.across.push_back(attention_weights(seen, 0));
    }
  }
  return result;
}

// Makes maps of matrices whose columns are the image's tokens: of the row that stands for the image, or of all.
class MapMaker {
 public:
  MapMaker(const ImageEncoderConfig& image, bool has_pool)
      : patches_(static_cast<std::size_t>(image.embedding().num_patches())),
        is_first_(!has_pool && image.pooling == Pooling::kClassToken) {}

  // Of the encoder's tokens as queries.
  PatchMap of_tokens(std::string name, const Matrix& matrix) const {
    return is_first_ ? of_row(std::move(name), matrix.row(0)) : of_rows(std::move(name), matrix);
  }
  // The mean over the rows.
  PatchMap of_rows(std::string name, const Matrix& matrix) const {
    std::vector<double> mean(static_cast<std::size_t>(matrix.cols), 0);
    for (int64_t i = 0; i < matrix.rows; ++i) {
      for (int64_t j = 0; j < matrix.cols; ++j) {
        mean[static_cast<std::size_t>(j)] += matrix.at(i, j) / static_cast<double>(matrix.rows);
      }
    }
    return of_row(std::move(name), mean);
  }
  // The patches are the last tokens.
  PatchMap of_row(std::string name, std::span<const double> row) const {
    const std::span<const double> patches = row.last(patches_);
    return {std::move(name), {patches.begin(), patches.end()}};
  }

 private:
  std::size_t patches_;
  bool is_first_;
};

void add_maps(const Weights& weights, const MapMaker& maker, Explanation& explanation) {
  const auto add_layer = [&](const AttentionWeights& attention, bool is_pool) {
    Explanation::Layer& layer = explanation.layers.emplace_back(Explanation::Layer{attention.name, {}});
    for (std::size_t h = 0; h < attention.heads.size(); ++h) {
      const std::string name = fmt::format("head {}", h);
      layer.heads.push_back(is_pool ? maker.of_rows(name, attention.heads[h])
                                    : maker.of_tokens(name, attention.heads[h]));
    }
  };
  for (const AttentionWeights& attention : weights.encoder) add_layer(attention, false);
  if (weights.pool) add_layer(*weights.pool, true);
  const Matrix rolled = rollout(weights.encoder);
  explanation.maps.push_back(weights.pool ? maker.of_rows("rollout", product(mean_over_heads(*weights.pool), rolled))
                                          : maker.of_tokens("rollout", rolled));
  if (explanation.subject.empty()) return;
  Matrix relevant = relevance(weights.encoder);
  if (weights.pool) {
    explanation.maps.push_back(maker.of_rows("relevance", relevance_through(*weights.pool, relevant)));
    return;
  }
  for (int64_t i = 0; i < relevant.rows; ++i) relevant.at(i, i) -= 1;  // what each token is to itself says nothing
  explanation.maps.push_back(maker.of_tokens("relevance", relevant));
}

// Where the decoder looked when it wrote each word: at the position before the word's pieces.
void add_words(const Weights& weights, const MapMaker& maker, const Tokenizer& tokenizer,
               std::span<const int32_t> tokens, Explanation& explanation) {
  Matrix mean = mean_over_heads(weights.across.at(0));
  for (std::size_t l = 1; l < weights.across.size(); ++l) {
    const Matrix layer = mean_over_heads(weights.across[l]);
    for (std::size_t k = 0; k < mean.values.size(); ++k) mean.values[k] += layer.values[k];
  }
  for (double& value : mean.values) value /= static_cast<double>(weights.across.size());
  if (weights.decoder_pool) mean = product(mean, mean_over_heads(*weights.decoder_pool));
  std::vector<double> num_pieces;
  for (std::size_t t = 1; t < tokens.size() && tokens[t] != kEndId; ++t) {
    std::string piece = tokenizer.piece(tokens[t]);
    const bool begins = piece.starts_with(kSpace) || num_pieces.empty();
    if (piece.starts_with(kSpace)) piece.erase(0, kSpace.size());
    PatchMap map = maker.of_row(piece, mean.row(static_cast<int64_t>(t) - 1));
    if (begins) {
      explanation.words.push_back(std::move(map));
      num_pieces.push_back(1);
      continue;
    }
    PatchMap& word = explanation.words.back();
    word.name += piece;
    num_pieces.back() += 1;
    for (std::size_t k = 0; k < word.values.size(); ++k) {
      word.values[k] += (map.values[k] - word.values[k]) / num_pieces.back();
    }
  }
  // Of a text that was cut behind a space.
  std::erase_if(explanation.words, [](const PatchMap& word) { return word.name.empty(); });
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
  Explanation explanation{.side = model.image.size / model.image.patch,
                          .size = model.image.size,
                          .pixels = pixels_of(inputs, model.image.size),
                          .subject = {},
                          .text = inputs.text,
                          .scores = {},
                          .layers = {},
                          .maps = {},
                          .words = {},
                          .gates = {}};
  Device& device = inference.device();
  Fields image(1);
  image.set("pixels", Tensor::from<uint8_t>(device, Shape{1, explanation.size, explanation.size, 3},
                                            std::span<const uint8_t>(explanation.pixels)));
  if (explanation.text.empty() && write) explanation.text = write(image);
  Fields fields = image;
  const bool has_text = !explanation.text.empty();
  if (has_text) {
    const Fields text = text_rows(device, *inputs.tokenizer, std::span(&explanation.text, 1), model.text_length);
    for (const char* name : {"tokens", "lengths"}) fields.set(name, text[name]);
  }
  std::vector<std::string> outputs;
  if (!model.class_slot.empty()) outputs.push_back(model.class_slot);
  if (model.has_embeddings) outputs.push_back(kImageEmbedding);
  if (model.has_embeddings && has_text) outputs.push_back(kTextEmbedding);
  if (!model.decoder.empty() && has_text) outputs.push_back(kLogits);

  Executor& executor = inference.executor();
  executor.set_trained([](const std::string&) { return false; });
  AttentionSink sink;
  const Values values = executor.observe(fields, outputs, sink);
  if (!model.class_slot.empty()) explain_class(value_of(values, model.class_slot), inputs, explanation);
  if (model.has_embeddings && has_text) {
    explain_similarity(value_of(values, kImageEmbedding), value_of(values, kTextEmbedding), explanation);
  }
  const Weights weights = weights_of(sink, model);
  const MapMaker maker(model.image, weights.pool.has_value());
  add_maps(weights, maker, explanation);
  if (!model.decoder.empty() && has_text) {
    add_words(weights, maker, *inputs.tokenizer, fields["tokens"].to_vector<int32_t>(), explanation);
  }
  return explanation;
}

std::vector<std::pair<std::string, double>> gate_values(const std::vector<Parameter*>& parameters) {
  std::vector<std::pair<std::string, double>> gates;
  for (const Parameter* parameter : parameters) {
    if (!parameter->name.ends_with("gate") || parameter->global_shape.num_elements() != 1) continue;
    gates.emplace_back(parameter->name, parameter->value.to_vector<float>().at(0));
  }
  return gates;
}

}  // namespace triptych::tasks
