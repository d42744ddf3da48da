#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "interop/config_links.h"
#include "interop/tensor_links.h"

// What several families have in common.

namespace triptych::interop {

/// transformers' defaults of an encoder, where a config does not say a key.
struct EncoderDefaults {
  int64_t width = 768, layers = 12, heads = 12, feed_forward = 3072;
  std::string_view activation = "gelu";
  double epsilon = 1e-12;
};

/// hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act, layer_norm_eps.
///   section   ours: "model.image"
///   place     of theirs: "vision_config.", or ""
void link_encoder(ConfigLinks& links, const std::string& section, const std::string& place,
                  const EncoderDefaults& defaults);

/// image_size, patch_size, three channels.
void link_patches(ConfigLinks& links, const std::string& place, int64_t size, int64_t patch);

/// How a family's pictures are prepared where nothing else is said.
struct Preparation {
  std::vector<double> mean, std;
  std::string_view fit, filter;  ///< as data.fit and data.filter
};

/// How pictures are prepared, out of transformers' preprocessor_config.json, which stands below "preprocessor". The
/// image's size is linked before.
void link_preprocessor(ConfigLinks& links, std::string_view processor, const Preparation& usual);

/// The keys that all configs of transformers may have and that change no output.
///   place   of one inside another: "text_config."
void link_common_keys(ConfigLinks& links, const std::string& place = "");

/// A stack of ours as its keys say it.
struct Stack {
  int64_t width = 0, layers = 0, feed_forward = 0;
};
Stack stack_of(const ModelKeys& ours, const std::string& section);

/// Patches and tokens as an image's sequence: class token and patches.
int64_t image_sequence(const ModelKeys& ours, bool class_token);
/// [width, 3, patch, patch]
Dims patch_weight(const ModelKeys& ours);

/// What the parts of a block are called, below the block's own name.
struct BlockNames {
  std::string_view attention_norm, query, key, value, out, feed_forward_norm, inner, outer;
};
/// "<ours>.blocks.i" and "<theirs>.i", whose queries, keys and values are made by a matrix each.
void add_blocks(TensorTable& table, const std::string& ours, const std::string& theirs, const Stack& stack,
                const BlockNames& names);

}  // namespace triptych::interop
