#include "tasks/model_config.h"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "data/token_masking.h"
#include "kernels/attention.h"
#include "ops/activation.h"

namespace triptych::tasks {
namespace {

// A key whose value is the name of one of `kinds`.
template <typename Kind>
void read_kind(ConfigReader& reader, const std::string& key, Kind& kind,
               std::span<const std::type_identity_t<Kind>> kinds, std::string_view (*name_of)(Kind),
               std::string_view doc) {
  std::vector<std::string> names;
  for (const Kind one : kinds) names.emplace_back(name_of(one));
  std::string name(name_of(kind));
  reader.read(key, name, doc).one_of(std::span<const std::string>(names));
  for (const Kind one : kinds) {
    if (name == name_of(one)) kind = one;
  }
}

// Norms, activation and attention of a stack's blocks.
void read_block_kind(ConfigReader& reader, const std::string& section, TransformerSizes& sizes) {
  reader
      .read(
          section + ".kv_heads", sizes.kv_heads,
          "Heads of self-attention's keys and values, each shared by several of the queries' (grouped queries, Llama); "
          "divide the heads; a multiple of parallel.tp. 0: as many as heads.")
      .at_least(0)
      .at_most(65536);
  read_kind(reader, section + ".activation", sizes.activation, kActivations, activation_name,
            "Activation of the feed-forward layers: the exact GELU, its approximations by tanh (GPT-2, SigLIP) and by "
            "a sigmoid (CLIP), or SwiGLU (Llama), whose first product is twice as wide.");
  read_kind(reader, section + ".norm", sizes.norm.kind, kNormKinds, norm_name,
            "layer, or rms: the root mean square alone, without a mean and a bias (Llama).");
  reader.read(section + ".norm_epsilon", sizes.norm.epsilon, "Added to the norms' variance.").positive().at_most(1);
  std::string position = sizes.post_norm ? "post" : "pre";
  reader
      .read(section + ".norm_position", position,
            "pre: before each part of a block, and one after the last block; post: after each sum (BERT).")
      .one_of({"pre", "post"});
  sizes.post_norm = position == "post";
  reader.read(section + ".input_norm", sizes.input_norm,
              "A norm before the first block (CLIP's ln_pre, BERT's of its embeddings).");
  reader.read(section + ".biases", sizes.biases, "Of the blocks' products; false: they have none (Llama).");
  reader
      .read(section + ".drop_path", sizes.drop_path,
            "Stochastic depth: how often a sample skips a part of the last block; it grows evenly from 0 at the first "
            "block.")
      .at_least(0)
      .at_most(0.95f);
}

// What tells tokens where they stand, in a line or in a grid of patches.
void read_positions(ConfigReader& reader, const std::string& section, TransformerSizes& sizes, bool is_grid) {
  const std::string key = section + ".positions";
  read_kind(reader, key, sizes.positions, kPositionKinds, position_name,
            is_grid
                ? "learned; sinusoidal: fixed waves along columns and rows (MAE); rotary: queries and keys turned by "
                  "row and column; none."
                : "learned; sinusoidal: fixed waves (Vaswani et al. 2017); rotary: queries and keys turned (Llama); "
                  "none.");
  reader
      .read(section + ".rotary_base", sizes.rotary_base,
            "Base of rotary positions: the longest wave, in tokens, over 2 pi.")
      .at_least(1)
      .at_most(1e9);
  const int64_t divisor = is_grid ? 4 : 2, head_dim = sizes.width / sizes.heads;
  if (sizes.positions == PositionKind::kSinusoidal && sizes.width % divisor != 0) {
    reader.problem(key,
                   fmt::format("sinusoidal needs a width that is a multiple of {}, found {}", divisor, sizes.width),
                   "Change the width or the positions");
  }
  if (sizes.positions == PositionKind::kRotary && head_dim % divisor != 0) {
    reader.problem(key,
                   fmt::format("rotary needs heads of a multiple of {} columns, found {} / {} = {}", divisor,
                               sizes.width, sizes.heads, head_dim),
                   "Change the heads or the positions");
  }
}

}  // namespace

void read_sizes(ConfigReader& reader, const std::string& section, TransformerSizes& sizes, bool is_grid,
                const MeshShape& mesh) {
  const std::string heads = section + ".heads";
  reader.read(section + ".width", sizes.width, "Width of the residual stream.")
      .at_least(1)
      .at_most(65536)
      .also_called({"hidden_size", "hidden_dim", "d_model", "n_embd", "embed_dim"});
  reader.read(section + ".layers", sizes.layers, "Transformer blocks.")
      .at_least(1)
      .at_most(1024)
      .also_called({"depth", "num_layers", "num_hidden_layers", "n_layer", "n_layers"});
  reader.read(heads, sizes.heads, "Attention heads; divide the width; a multiple of parallel.tp.")
      .at_least(1)
      .at_most(65536)
      .also_called({"num_heads", "num_attention_heads", "n_head", "n_heads"});
  reader.read(section + ".feed_forward", sizes.feed_forward, "Inner width; a multiple of parallel.tp.")
      .at_least(1)
      .at_most(1 << 20)
      .also_called({"mlp_dim", "mlp_ratio", "intermediate_size", "ffn_hidden_size", "d_ff", "n_inner"});
  read_block_kind(reader, section, sizes);
  read_positions(reader, section, sizes, is_grid);
  if (sizes.width % sizes.heads != 0) {
    reader.problem(heads, fmt::format("must divide {}.width: {} heads, width {}", section, sizes.heads, sizes.width),
                   "Choose a width that is a multiple of the heads");
  } else if (sizes.width / sizes.heads > max_attention_head_dim()) {
    reader.problem(heads,
                   fmt::format("a head has at most {} columns, found {} / {} = {}", max_attention_head_dim(),
                               sizes.width, sizes.heads, sizes.width / sizes.heads),
                   "Use more heads");
  }
  if (sizes.heads % mesh.tp != 0) {
    reader.problem(heads, fmt::format("must be a multiple of parallel.tp: {} heads, tp = {}", sizes.heads, mesh.tp),
                   "Change the heads or parallel.tp");
  }
  if (sizes.feed_forward % mesh.tp != 0) {
    reader.problem(section + ".feed_forward",
                   fmt::format("must be a multiple of parallel.tp: {}, tp = {}", sizes.feed_forward, mesh.tp),
                   "Change feed_forward or parallel.tp");
  }
  const std::string kv_heads = section + ".kv_heads";
  if (sizes.kv_heads > 0 && sizes.heads % sizes.kv_heads != 0) {
    reader.problem(kv_heads, fmt::format("must divide {}.heads: {} of {} heads", section, sizes.kv_heads, sizes.heads),
                   "Choose a divisor of the heads");
  }
  if (sizes.kv_heads % mesh.tp != 0) {
    reader.problem(kv_heads,
                   fmt::format("must be a multiple of parallel.tp: {} heads, tp = {}", sizes.kv_heads, mesh.tp),
                   "Change kv_heads or parallel.tp");
  }
}

namespace {

// Three numbers, of red, green and blue.
void read_channels(ConfigReader& reader, const std::string& key, std::array<float, 3>& channels, double least,
                   std::string_view doc) {
  std::vector<double> values(channels.begin(), channels.end());
  for (double& value : values) value = std::stod(fmt::format("{}", static_cast<float>(value)));
  reader.read(key, values, doc).at_least(least).at_most(1e3);
  if (values.size() != channels.size()) {
    reader.problem(key, fmt::format("must be three numbers, of red, green and blue, found {}", values.size()),
                   "Give all three");
    return;
  }
  for (std::size_t c = 0; c < channels.size(); ++c) channels[c] = static_cast<float>(values[c]);
}

// model.image.pixel_mean, pixel_std.
void read_pixel_scale(ConfigReader& reader, PixelScale& scale) {
  read_channels(reader, "model.image.pixel_mean", scale.mean, -1e3,
                "Subtracted from red, green and blue, which are 0 to 1; CLIP's are the default, SigLIP's 0.5.");
  read_channels(reader, "model.image.pixel_std", scale.std, 1e-6, "What red, green and blue are then divided by.");
}

}  // namespace

void read_image_encoder(ConfigReader& reader, ImageEncoderConfig& config, bool has_pooling, const MeshShape& mesh) {
  reader.read("model.image.size", config.size, "Side of the pictures, in pixels.")
      .at_least(1)
      .at_most(4096)
      .also_called({"image_size", "img_size", "resolution", "input_size"});
  reader.read("model.image.patch", config.patch, "Side of a patch, in pixels; divides the size.")
      .at_least(1)
      .at_most(4096)
      .also_called({"patch_size"});
  if (config.size % config.patch != 0) {
    reader.problem("model.image.patch",
                   fmt::format("must divide model.image.size: patch {}, size {}", config.patch, config.size),
                   "Change one of them");
  }
  read_pixel_scale(reader, config.scale);
  reader.read("model.image.patch_bias", config.patch_bias, "Of the product that embeds patches; CLIP's has none.");
  read_sizes(reader, "model.image", config.sizes, true, mesh);
  config.pooling = ImageEncoderConfig::Pooling::kMean;
  if (!has_pooling) return;
  std::string pooling = "class";
  reader
      .read("model.image.pooling", pooling,
            "What stands for the whole image: a class token in front of the patches, their mean, or what a learned "
            "query that attends to them makes of them (attention, SigLIP).")
      .one_of({"class", "mean", "attention"});
  if (pooling == "class") config.pooling = ImageEncoderConfig::Pooling::kClassToken;
  if (pooling == "attention") config.pooling = ImageEncoderConfig::Pooling::kAttention;
}

void read_text_stack(ConfigReader& reader, const std::string& section, TextStackConfig& config, bool has_attention,
                     const MeshShape& mesh) {
  const std::string vocabulary = section + ".vocabulary";
  reader.read(section + ".length", config.length, "Tokens per text, begin and end included; longer ones are cut.")
      .at_least(2)
      .at_most(65536)
      .also_called({"context_length", "max_length", "max_seq_len", "seq_len", "seq_length", "max_position_embeddings",
                    "n_positions"});
  reader
      .read(vocabulary, config.vocabulary,
            "Rows of the token embedding, at least the tokenizer's pieces; a multiple of parallel.tp.")
      .at_least(4)
      .at_most(int64_t{1} << 24)
      .also_called({"vocab_size"});
  if (config.vocabulary % mesh.tp != 0) {
    reader.problem(vocabulary,
                   fmt::format("must be a multiple of parallel.tp: {} tokens, tp = {}", config.vocabulary, mesh.tp),
                   "Round the vocabulary up: unused rows cost little");
  }
  read_sizes(reader, section, config.sizes, false, mesh);
  if (!has_attention) return;
  std::string attention = "causal";
  reader.read(section + ".attention", attention, "causal, or bidirectional with the padding masked.")
      .one_of({"causal", "bidirectional"});
  config.causal = attention == "causal";
}

std::string read_connector(ConfigReader& reader, ConnectorConfig& config, const std::vector<std::string>& others) {
  std::vector<std::string> kinds;
  for (const ConnectorKind kind : kConnectorKinds) kinds.emplace_back(connector_name(kind));
  kinds.insert(kinds.end(), others.begin(), others.end());
  std::string name(connector_name(config.kind));
  reader
      .read("model.connector.kind", name,
            "Between the image encoder and what reads it: none; linear, a product (LLaVA); mlp, two and a GELU "
            "(LLaVA-1.5); resampler, learned queries that attend to the image (BLIP-2).")
      .one_of(std::span<const std::string>(kinds));
  for (const ConnectorKind kind : kConnectorKinds) {
    if (name == connector_name(kind)) config.kind = kind;
  }
  reader.read("model.connector.queries", config.queries, "With resampler: tokens that it makes of an image.")
      .at_least(1)
      .at_most(65536);
  reader.read("model.connector.layers", config.layers, "With resampler: its blocks, of the kind that reads it.")
      .at_least(1)
      .at_most(1024);
  return name;
}

void read_dropout(ConfigReader& reader, float& dropout) {
  reader.read("model.dropout", dropout, "After attention and feed-forward layers.")
      .at_least(0)
      .at_most(0.95f)
      .also_called({"dropout_rate", "drop_rate", "hidden_dropout_prob", "attention_dropout"});
}

void read_embedding(ConfigReader& reader, int64_t& embedding) {
  reader.read("model.embedding", embedding, "Dims of the space in which images and texts meet.")
      .at_least(2)  // of one, unit vectors are 1 or -1, and no gradient changes them
      .at_most(65536)
      .also_called({"projection_dim"});
}

void read_label_smoothing(ConfigReader& reader, double& smoothing, std::string_view targets) {
  reader
      .read("objective.label_smoothing", smoothing,
            fmt::format("Share of each target that is spread over all {} (Szegedy et al. 2016).", targets))
      .at_least(0)
      .below(1);
}

int64_t num_masked_tokens(ConfigReader& reader, const TextStackConfig& text, double share) {
  if (text.length < 3) {
    reader.problem("model.text.length",
                   fmt::format("must be at least 3, for begin, end and a token to guess: {}", text.length), "Raise it");
  }
  if (text.vocabulary < 6) {
    reader.problem("model.text.vocabulary",
                   fmt::format("must be at least 6, with a piece of text and the mask token: {}", text.vocabulary),
                   "Raise it");
  }
  return std::max<int64_t>(1, masked_token_count(text.length - 2, share));
}

void read_loss_weight(ConfigReader& reader, std::string_view loss, double& weight) {
  reader.read(fmt::format("objective.{}_weight", loss), weight, fmt::format("Weight of the {} loss in the sum.", loss))
      .positive()
      .at_most(1e4);
}

void read_contrastive(ConfigReader& reader, ContrastiveConfig& config) {
  std::string kind = "infonce";
  double temperature = 0.07, minimum_temperature = 0.01;
  reader.read("objective.kind", kind, "infonce (CLIP) or sigmoid (SigLIP).").one_of({"infonce", "sigmoid"});
  reader.read("objective.temperature", temperature, "Initial; learned. Similarities are divided by it.")
      .at_least(1e-4)
      .at_most(1e4);
  reader.read("objective.minimum_temperature", minimum_temperature, "The learned temperature stays above.")
      .at_least(1e-4)
      .at_most(1e4);
  reader.read("objective.bias", config.initial_bias, "Initial bias of the sigmoid loss; learned.")
      .at_least(-1e4f)
      .at_most(1e4f);
  config.kind = kind == "sigmoid" ? ContrastiveConfig::Kind::kSigmoid : ContrastiveConfig::Kind::kInfoNce;
  config.initial_scale = static_cast<float>(1 / temperature);
  config.maximum_scale = static_cast<float>(1 / minimum_temperature);
  config.needs = {"image_present", "text_present"};
  if (minimum_temperature > temperature) {
    reader.problem(
        "objective.temperature",
        fmt::format("must not be below objective.minimum_temperature: {} < {}", temperature, minimum_temperature),
        "Raise it, or lower the minimum");
  }
}

void read_augmentation(ConfigReader& reader, AugmentOptions& options) {
  AugmentOptions& a = options;
  std::string fit = "crop", filter = "linear";
  reader
      .read(
          "data.fit", fit,
          "What an evaluation sees of a picture that is no square: crop, the square in its middle (CLIP); stretch, all "
          "of it (SigLIP, ViT). Training crops as data.augment says.")
      .one_of({"crop", "stretch"});
  reader
      .read("data.filter", filter,
            "With which pictures are resized, always with antialiasing: linear or cubic, which published models were "
            "trained with. With cubic JPEGs are decoded in full size, which costs time.")
      .one_of({"linear", "cubic"});
  a.picture.fit = fit == "stretch" ? PictureOptions::Fit::kStretch : PictureOptions::Fit::kCrop;
  a.picture.filter = filter == "cubic" ? PictureOptions::Filter::kCubic : PictureOptions::Filter::kLinear;
  reader.read("data.augment.min_scale", a.min_scale, "Least share of the image that a random crop keeps.")
      .positive()
      .at_most(1);
  reader.read("data.augment.max_scale", a.max_scale, "Largest share.").positive().at_most(1);
  reader.read("data.augment.min_ratio", a.min_ratio, "Least width / height of the crop.").at_least(0.01).at_most(100);
  reader.read("data.augment.max_ratio", a.max_ratio, "Largest width / height.").at_least(0.01).at_most(100);
  reader
      .read("data.augment.flip_probability", a.flip_probability,
            "Probability of a mirrored picture; captions may name sides.")
      .at_least(0)
      .at_most(1);
  reader.read("data.augment.brightness", a.brightness, "Factor within 1 +- this.").at_least(0).at_most(1);
  reader.read("data.augment.contrast", a.contrast, "Factor within 1 +- this.").at_least(0).at_most(1);
  reader.read("data.augment.saturation", a.saturation, "Factor within 1 +- this.").at_least(0).at_most(1);
  reader.read("data.augment.hue", a.hue, "Share of half a turn, either way.").at_least(0).at_most(1);
  reader.read("data.augment.color", a.color, "How far each channel's black and white points move.")
      .at_least(0)
      .at_most(1);
  reader.read("data.augment.grayscale_probability", a.grayscale_probability, "Probability of a grey picture.")
      .at_least(0)
      .at_most(1);
  reader.read("data.augment.invert_probability", a.invert_probability, "Probability of a negative.")
      .at_least(0)
      .at_most(1);
  const auto require_order = [&](const std::string& what, double least, double largest) {
    if (least <= largest) return;
    reader.problem("data.augment.min_" + what,
                   fmt::format("must not exceed data.augment.max_{}: {} > {}", what, least, largest),
                   "Lower it, or raise the other");
  };
  require_order("scale", a.min_scale, a.max_scale);
  require_order("ratio", a.min_ratio, a.max_ratio);
}

}  // namespace triptych::tasks
