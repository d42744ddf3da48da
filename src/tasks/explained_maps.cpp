#include "tasks/explained_maps.h"

#include <algorithm>

#include <fmt/format.h>

#include "evaluation/stream_relevance.h"

namespace triptych::tasks {
namespace {

using Pooling = ImageEncoderConfig::Pooling;

bool is_block_of(const std::string& attention, const std::string& stack, std::string_view kind) {
  return attention.starts_with(stack + ".blocks.") && attention.ends_with(kind);
}

// The attentions of a stack, within its own sequence or across to another.
std::vector<AttentionWeights> of_stack(std::span<const AttentionWeights> all, const std::string& stack,
                                       std::string_view kind) {
  std::vector<AttentionWeights> found;
  for (const AttentionWeights& one : all) {
    if (is_block_of(one.name, stack, kind)) found.push_back(one);
  }
  return found;
}

const AttentionWeights* named(std::span<const AttentionWeights> all, const std::string& name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const AttentionWeights& one) { return one.name == name; });
  return name.empty() || found == all.end() ? nullptr : &*found;
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

Matrix without_identity(Matrix matrix) {
  for (int64_t i = 0; i < matrix.rows; ++i) matrix.at(i, i) -= 1;
  return matrix;
}

Matrix row_of(const Matrix& matrix, int64_t index, int64_t count) {
  const std::span<const double> row = matrix.row(index).first(static_cast<std::size_t>(count));
  return {1, count, {row.begin(), row.end()}};
}

Matrix mean_row(const Matrix& matrix) {
  const double share = 1 / static_cast<double>(matrix.rows);
  return product({1, matrix.rows, std::vector<double>(static_cast<std::size_t>(matrix.rows), share)}, matrix);
}

// ---- Through a connector and a fusion

// How relevant each of the encoder's tokens is to each that the connector makes.
Matrix connector_relevance(std::span<const AttentionWeights> all, const ExplainedModel& model,
                           const Matrix& of_encoder) {
  if (model.connector.kind != ConnectorKind::kResampler) return normalized_relevance(of_encoder);
  StreamRelevance image(of_encoder.rows, model.connector.queries), queries(model.connector.queries, of_encoder.rows);
  image.own = of_encoder;
  for (const AttentionWeights& one : all) {
    if (is_block_of(one.name, "connector", ".attention")) queries.attend_within(one);
    if (is_block_of(one.name, "connector", ".cross_attention")) queries.attend_across(one, image);
  }
  Matrix result = queries.other;
  for (int64_t i = 0; i < result.rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < result.cols; ++j) sum += result.at(i, j);
    for (int64_t j = 0; j < result.cols; ++j) result.at(i, j) /= sum == 0 ? 1 : sum;
  }
  return result;
}

// Of two streams that attend to each other, or the text's alone to the image's.
Matrix cross_relevance(std::span<const AttentionWeights> all, const ExplainedModel& model) {
  StreamRelevance text(model.text_length, model.image_tokens()), image(model.image_tokens(), model.text_length);
  for (const AttentionWeights& one : all) {
    if (is_block_of(one.name, "fusion.text", ".attention")) text.attend_within(one);
    if (is_block_of(one.name, "fusion.text", ".cross_attention")) text.attend_across(one, image);
    if (is_block_of(one.name, "fusion.image", ".attention")) image.attend_within(one);
    if (is_block_of(one.name, "fusion.image", ".cross_attention")) image.attend_across(one, text);
  }
  Matrix row = row_of(text.other, 0, model.image_tokens());
  if (!model.fusion->both_ways) return row;
  const Matrix mean = mean_row(without_identity(image.own));
  for (std::size_t k = 0; k < row.values.size(); ++k) row.values[k] += mean.values[k];
  return row;
}

// Of the encoder's tokens, for what the fusion says: [1, tokens].
Matrix fused_relevance(std::span<const AttentionWeights> all, const ExplainedModel& model, const Matrix& of_encoder) {
  const bool is_resampled = model.connector.kind == ConnectorKind::kResampler;
  if (model.fusion->kind == FusionKind::kGated) {
    return mean_row(is_resampled ? connector_relevance(all, model, of_encoder) : without_identity(of_encoder));
  }
  const Matrix row =
      model.fusion->kind == FusionKind::kCrossAttention
          ? cross_relevance(all, model)
          // The text's first token stands behind the image's.
          : row_of(relevance(of_stack(all, "fusion", ".attention")), model.image_tokens(), model.image_tokens());
  return product(row, connector_relevance(all, model, of_encoder));
}

// ---- Of a decoder

// The mean over layers and heads.
Matrix mean_weights(const std::vector<AttentionWeights>& layers) {
  Matrix mean = mean_over_heads(layers.at(0));
  for (std::size_t l = 1; l < layers.size(); ++l) {
    const Matrix layer = mean_over_heads(layers[l]);
    for (std::size_t k = 0; k < mean.values.size(); ++k) mean.values[k] += layer.values[k];
  }
  for (double& value : mean.values) value /= static_cast<double>(layers.size());
  return mean;
}

// What each token of the text gives each of the encoder's: [text, tokens].
Matrix decoder_weights(std::span<const AttentionWeights> all, const ExplainedModel& model) {
  Matrix weights;
  if (model.is_prefix) {
    const Matrix whole = mean_weights(of_stack(all, model.decoder, ".attention"));
    const int64_t before = model.image_tokens();
    weights = {whole.rows - before, before, {}};
    for (int64_t t = before; t < whole.rows; ++t) {
      const Matrix row = row_of(whole, t, before);
      weights.values.insert(weights.values.end(), row.values.begin(), row.values.end());
    }
  } else {
    weights = mean_weights(of_stack(all, model.decoder, ".cross_attention"));
  }
  if (const AttentionWeights* pool = named(all, model.decoder_pool)) weights = product(weights, mean_over_heads(*pool));
  if (model.connector.kind == ConnectorKind::kResampler) {
    weights = product(weights, mean_weights(of_stack(all, "connector", ".cross_attention")));
  }
  return weights;
}

}  // namespace

bool is_explained(const std::string& attention, const ExplainedModel& model) {
  if (attention == model.pool || attention == model.decoder_pool) return true;
  for (const std::string& stack : {std::string("image"), std::string("connector"), std::string("fusion"),
                                   std::string("fusion.text"), std::string("fusion.image"), model.decoder}) {
    if (!stack.empty() && attention.starts_with(stack + ".blocks.")) return true;
  }
  return false;
}

void add_attention_maps(std::span<const AttentionWeights> all, const ExplainedModel& model, Explanation& explanation) {
  const std::vector<AttentionWeights> encoder = of_stack(all, "image", ".attention");
  const AttentionWeights* const pool = named(all, model.pool);
  const MapMaker maker(model.image, pool != nullptr);
  const auto add_layer = [&](const AttentionWeights& attention, bool is_pool) {
    Explanation::Layer& layer = explanation.layers.emplace_back(Explanation::Layer{attention.name, {}});
    for (std::size_t h = 0; h < attention.heads.size(); ++h) {
      const std::string name = fmt::format("head {}", h);
      layer.heads.push_back(is_pool ? maker.of_rows(name, attention.heads[h])
                                    : maker.of_tokens(name, attention.heads[h]));
    }
  };
  for (const AttentionWeights& attention : encoder) add_layer(attention, false);
  if (pool != nullptr) add_layer(*pool, true);
  const Matrix rolled = rollout(encoder);
  explanation.maps.push_back(pool != nullptr ? maker.of_rows("rollout", product(mean_over_heads(*pool), rolled))
                                             : maker.of_tokens("rollout", rolled));
  if (explanation.subject.empty()) return;
  const Matrix relevant = relevance(encoder);
  if (model.fusion) {
    explanation.maps.push_back(maker.of_rows("relevance", fused_relevance(all, model, relevant)));
  } else if (pool != nullptr) {
    explanation.maps.push_back(maker.of_rows("relevance", relevance_through(*pool, relevant)));
  } else {  // what each token is to itself says nothing
    explanation.maps.push_back(maker.of_tokens("relevance", without_identity(relevant)));
  }
}

void add_word_maps(std::span<const AttentionWeights> all, const ExplainedModel& model, const Tokenizer& tokenizer,
                   std::span<const int32_t> tokens, int64_t first_word, Explanation& explanation) {
  const Matrix weights = decoder_weights(all, model);
  const MapMaker maker(model.image, false);
  const auto first = static_cast<std::size_t>(first_word);
  const std::span<const int32_t> text = tokens.subspan(std::min(first, tokens.size()));
  const auto end = tokenizer.special().end ? std::ranges::find(text, *tokenizer.special().end) : text.end();
  for (const TokenWord& word : tokenizer.words(text.first(static_cast<std::size_t>(end - text.begin())))) {
    PatchMap map = maker.of_row(word.text, weights.row(static_cast<int64_t>(first + word.first) - 1));
    for (std::size_t piece = 1; piece < word.count; ++piece) {
      const PatchMap other = maker.of_row(word.text, weights.row(static_cast<int64_t>(first + word.first + piece) - 1));
      for (std::size_t k = 0; k < map.values.size(); ++k) {
        map.values[k] += (other.values[k] - map.values[k]) / static_cast<double>(piece + 1);
      }
    }
    explanation.words.push_back(std::move(map));
  }
  // Of a text that was cut behind a space.
  std::erase_if(explanation.words, [](const PatchMap& word) { return word.name.empty(); });
}

}  // namespace triptych::tasks
