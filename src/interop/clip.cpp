#include <cmath>

#include "interop/families.h"
#include "interop/towers.h"

// CLIP (Radford et al. 2021): OpenAI's and LAION's, as transformers has them and as open_clip has them.

namespace triptych::interop {
namespace {

using nlohmann::json;

const std::vector<double> kMean{0.48145466, 0.4578275, 0.40821073}, kStd{0.26862954, 0.26130258, 0.27577711};
constexpr std::string_view kSpellings[] = {""};

// What every CLIP has here, in whatever files.
void link_clip(ConfigLinks& links) {
  links.ours_is("task", "contrastive");
  links.ours_is("objective.kind", "infonce");
  links.ours_is("model.image.pooling", "class");
  links.ours_is("model.image.patch_bias", false);
  links.ours_is("model.text.attention", "causal");
  links.ours_free({"model.dropout"});
}

// What all tables have in common: the stacks are called differently.
struct Names {
  std::string image_positions, class_token, patches, image_norm, image_head_norm, tokens, text_positions,
      text_head_norm;
};

void add_embeddings(TensorTable& table, const ModelKeys& ours, const Names& names) {
  const int64_t image = ours.integer("model.image.width"), text = ours.integer("model.text.width");
  table.same("image.embed.patch.weight", {image, volume(patch_weight(ours)) / image}, names.patches,
             patch_weight(ours));
  table.same("image.embed.class_token", names.class_token, {image});
  table.same("image.embed.positions", names.image_positions, {image_sequence(ours, true), image});
  if (ours.boolean("model.image.input_norm")) table.norm("image.embed.norm", names.image_norm, image);
  table.norm("image.head.norm", names.image_head_norm, image);
  table.same("text.embed.tokens.weight", names.tokens, {ours.integer("model.text.vocabulary"), text});
  table.same("text.embed.positions", names.text_positions, {ours.integer("model.text.length"), text});
  table.norm("text.head.norm", names.text_head_norm, text);
  table.same("objective.log_scale", {1}, "logit_scale", {});
}

// ---- transformers

bool is_any(const json&) {
  return true;
}

void link_hugging_face(ConfigLinks& links) {
  link_clip(links);
  links.theirs_is("model_type", "clip");
  link_common_keys(links);
  link_common_keys(links, "text_config.");
  link_common_keys(links, "vision_config.");
  links.theirs_free({"text_config_dict.*", "vision_config_dict.*", "logit_scale_init_value",
                     "text_config.projection_dim", "vision_config.projection_dim", "text_config.attention_dropout",
                     "vision_config.attention_dropout", "text_config.dropout", "vision_config.dropout"});
  links.integer("model.embedding", "projection_dim", 512);
  link_encoder(
      links, "model.image", "vision_config.",
      {.width = 768, .layers = 12, .heads = 12, .feed_forward = 3072, .activation = "quick_gelu", .epsilon = 1e-5});
  link_patches(links, "vision_config.", 224, 32);
  link_encoder(
      links, "model.text", "text_config.",
      {.width = 512, .layers = 12, .heads = 8, .feed_forward = 2048, .activation = "quick_gelu", .epsilon = 1e-5});
  links.integer("model.text.length", "text_config.max_position_embeddings", 77);
  links.integer("model.text.vocabulary", "text_config.vocab_size", 49408);
  links.ours_is("model.image.input_norm", true);
  link_preprocessor(links, "CLIPImageProcessor", {kMean, kStd, "crop", "cubic"});
  if (links.imports()) return;
  links.write("architectures", {"CLIPModel"});
  links.write("text_config.model_type", "clip_text_model");
  links.write("vision_config.model_type", "clip_vision_model");
  links.write("text_config.projection_dim", links.our_integer("model.embedding"));
  links.write("vision_config.projection_dim", links.our_integer("model.embedding"));
  // Their text's vector is that of the first end token; with 2 it is that of the highest id, as OpenAI's files want it.
  links.write("text_config.eos_token_id", links.end_token.value_or(2));
}

TensorTable hugging_face_tensors(const ModelKeys& ours, const std::string&) {
  constexpr BlockNames kBlock{"layer_norm1",        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                              "self_attn.out_proj", "layer_norm2",      "mlp.fc1",          "mlp.fc2"};
  const Stack image = stack_of(ours, "model.image"), text = stack_of(ours, "model.text");
  const int64_t embedding = ours.integer("model.embedding");
  TensorTable table;
  add_embeddings(table, ours,
                 {.image_positions = "vision_model.embeddings.position_embedding.weight",
                  .class_token = "vision_model.embeddings.class_embedding",
                  .patches = "vision_model.embeddings.patch_embedding.weight",
                  .image_norm = "vision_model.pre_layrnorm",  // their spelling
                  .image_head_norm = "vision_model.post_layernorm",
                  .tokens = "text_model.embeddings.token_embedding.weight",
                  .text_positions = "text_model.embeddings.position_embedding.weight",
                  .text_head_norm = "text_model.final_layer_norm"});
  add_blocks(table, "image", "vision_model.encoder.layers", image, kBlock);
  add_blocks(table, "text", "text_model.encoder.layers", text, kBlock);
  table.same("image.head.projection.weight", "visual_projection.weight", {embedding, image.width});
  table.same("text.head.projection.weight", "text_projection.weight", {embedding, text.width});
  table.left("*.embeddings.position_ids");
  return table;
}

// ---- open_clip

bool is_open_clip(const json& config) {
  const auto vision = config.find("vision_cfg");
  return vision == config.end() || !vision->is_object() || !vision->contains("timm_model_name");
}

// Heads are said by their width, and the inner width by a ratio.
void link_open_clip_sizes(ConfigLinks& links, const std::string& section, const std::string& place) {
  if (links.imports()) {
    const int64_t width = links.read_integer(place + "width", section == "model.image" ? 768 : 512);
    const double ratio = links.read_number(place + "mlp_ratio", 4.0);
    links.set(section + ".width", width);
    const double inner = static_cast<double>(width) * ratio;
    if (!(inner >= 1 && inner < 1e9)) {
      links.problem(
          fmt::format("{}mlp_ratio must make an inner width of 1 to 10^9, found {} * {}", place, width, ratio));
    }
    links.set(section + ".feed_forward", inner >= 1 && inner < 1e9 ? static_cast<int64_t>(inner) : 1);
  } else {
    const int64_t width = links.our_integer(section + ".width"), inner = links.our_integer(section + ".feed_forward");
    double ratio = static_cast<double>(inner) / static_cast<double>(width);
    if (static_cast<int64_t>(static_cast<double>(width) * ratio) < inner) ratio = std::nextafter(ratio, 1e9);
    links.write(place + "width", width);
    links.write(place + "mlp_ratio", ratio);
  }
  links.integer(section + ".layers", place + "layers", 12);
  links.ours_free({section + ".drop_path"});
}

// One activation for both towers: exact or quick GELU, or by `act_kwargs` the approximation by tanh.
void link_activation(ConfigLinks& links, const std::string& section, const std::string& place) {
  const std::string approximate = place + "act_kwargs.approximate";
  if (links.imports()) {
    const bool quick = links.read("model_cfg.quick_gelu").value_or(false) == true;
    const std::optional<json> kind = links.read(approximate);
    if (kind && *kind != "tanh" && *kind != "none") {
      links.problem(fmt::format("{} must be none or tanh, found {}", approximate, kind->dump().substr(0, 80)));
    }
    links.set(section + ".activation", std::string(quick                     ? "gelu_quick"
                                                   : kind && *kind == "tanh" ? "gelu_tanh"
                                                                             : "gelu"));
    return;
  }
  const std::string mine = links.our_word(section + ".activation");
  if (mine == "gelu_quick") {
    links.write("model_cfg.quick_gelu", true);
  } else if (mine == "gelu_tanh") {
    links.write(approximate, "tanh");
  } else if (mine != "gelu") {
    links.problem(section + ".activation must be gelu, gelu_tanh or gelu_quick, found " + mine);
  }
}

void link_open_clip(ConfigLinks& links) {
  const std::string model = "model_cfg.", vision = model + "vision_cfg.", words = model + "text_cfg.";
  link_clip(links);
  links.integer("model.embedding", model + "embed_dim");
  link_open_clip_sizes(links, "model.image", vision);
  link_open_clip_sizes(links, "model.text", words);
  links.integer("model.image.size", vision + "image_size", 224);
  links.integer("model.image.patch", vision + "patch_size", 16);
  links.integer("model.text.length", words + "context_length", 77);
  links.integer("model.text.vocabulary", words + "vocab_size", 49408);
  links.integer("model.text.heads", words + "heads", 8);
  link_activation(links, "model.image", vision);
  link_activation(links, "model.text", words);
  links.number("model.image.norm_epsilon", vision + "norm_kwargs.eps", 1e-5);
  links.number("model.text.norm_epsilon", words + "norm_kwargs.eps", 1e-5);
  links.numbers("model.image.pixel_mean", "preprocess_cfg.mean", kMean);
  links.numbers("model.image.pixel_std", "preprocess_cfg.std", kStd);
  links.word("data.filter", "preprocess_cfg.interpolation", {{"cubic", "bicubic"}, {"linear", "bilinear"}}, "bicubic");
  links.word("data.fit", "preprocess_cfg.resize_mode", {{"crop", "shortest"}, {"stretch", "squash"}}, "shortest");
  links.theirs_free({"preprocess_cfg.size", "preprocess_cfg.mode", "preprocess_cfg.fill_color",
                     model + "init_logit_scale", vision + "patch_dropout", words + "eos_id", words + "pad_id",
                     words + "hf_tokenizer_name", words + "tokenizer_kwargs.*", words + "tokenizer_mode"});
  if (links.imports()) {
    const int64_t head_width = links.read_integer(vision + "head_width", 64);
    links.set("model.image.heads",
              std::max<int64_t>(1, links.ours().integer("model.image.width") / std::max<int64_t>(1, head_width)));
    links.set("model.image.input_norm", links.read(vision + "no_ln_pre").value_or(false) != true);
    const json pool = links.read(words + "pool_type").value_or("argmax");
    if (pool != "argmax" && pool != "eos") {
      links.problem(fmt::format("{}pool_type must be argmax or eos, of a text's end token, found {}", words,
                                pool.dump().substr(0, 80)));
    }
  } else {
    const int64_t heads = links.our_integer("model.image.heads"), width = links.our_integer("model.image.width");
    links.write(vision + "head_width", width / heads);
    links.write(vision + "no_ln_pre", !links.our_boolean("model.image.input_norm"));
    const bool is_quick = links.our_word("model.image.activation") == "gelu_quick";
    if (is_quick != (links.our_word("model.text.activation") == "gelu_quick")) {
      links.problem(
          fmt::format("model.image.activation and model.text.activation must both be gelu_quick, or neither, "
                      "found {} and {}",
                      links.our_word("model.image.activation"), links.our_word("model.text.activation")));
    }
    links.write("preprocess_cfg.size", links.our_integer("model.image.size"));
    links.write("preprocess_cfg.mode", "RGB");
    if (links.end_token) {  // else the highest id of a text, as of OpenAI's tokenizer
      links.write(words + "pool_type", "eos");
      links.write(words + "eos_id", *links.end_token);
    }
  }
  // What would make another model of it.
  links.theirs_is(vision + "pool_type", "tok");
  links.theirs_is(vision + "attentional_pool", false);
  links.theirs_is(vision + "pos_embed_type", "learnable");
  links.theirs_is(words + "no_causal_mask", false);
  links.theirs_is(words + "proj_bias", false);
  links.theirs_is(words + "proj_type", "linear");
  links.theirs_is(words + "embed_cls", false);
  for (const std::string& tower : {vision, words}) {
    links.theirs_is(tower + "final_ln_after_pool", false);
    for (const char* key : {"qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn",
                            "scale_fc", "output_tokens"}) {
      links.theirs_is(tower + key, false);
    }
  }
  if (links.imports()) {
    for (const char* key : {"ls_init_value", "hf_model_name", "block_type"}) {
      for (const std::string& tower : {vision, words}) {
        if (const auto found = links.read(tower + key); found && *found != "default") {
          links.problem(fmt::format("{}{} must not be there, found {}: there is nothing like it here", tower, key,
                                    found->dump().substr(0, 80)));
        }
      }
    }
  }
}

void add_open_clip_blocks(TensorTable& table, const std::string& ours, const std::string& theirs, const Stack& stack) {
  const int64_t h = stack.width;
  for (int64_t i = 0; i < stack.layers; ++i) {
    const std::string mine = fmt::format("{}.blocks.{}", ours, i), other = fmt::format("{}.resblocks.{}", theirs, i);
    table.norm(mine + ".attention.norm", other + ".ln_1", h);
    table.same(mine + ".attention.qkv.weight", {3, h, h}, other + ".attn.in_proj_weight", {3 * h, h});
    table.same(mine + ".attention.qkv.bias", {3, h}, other + ".attn.in_proj_bias", {3 * h});
    table.product(mine + ".attention.out", other + ".attn.out_proj", h, h);
    table.norm(mine + ".feed_forward.norm", other + ".ln_2", h);
    table.product(mine + ".feed_forward.in", other + ".mlp.c_fc", stack.feed_forward, h);
    table.product(mine + ".feed_forward.out", other + ".mlp.c_proj", h, stack.feed_forward);
  }
}

// With `custom_text` the text tower's names begin with "text.".
TensorTable open_clip_tensors(const ModelKeys& ours, const std::string& text_prefix) {
  const Stack image = stack_of(ours, "model.image"), text = stack_of(ours, "model.text");
  const int64_t embedding = ours.integer("model.embedding");
  TensorTable table;
  add_embeddings(table, ours,
                 {.image_positions = "visual.positional_embedding",
                  .class_token = "visual.class_embedding",
                  .patches = "visual.conv1.weight",
                  .image_norm = "visual.ln_pre",
                  .image_head_norm = "visual.ln_post",
                  .tokens = text_prefix + "token_embedding.weight",
                  .text_positions = text_prefix + "positional_embedding",
                  .text_head_norm = text_prefix + "ln_final"});
  add_open_clip_blocks(table, "image", "visual.transformer", image);
  add_open_clip_blocks(table, "text", text_prefix + "transformer", text);
  table.turned("image.head.projection.weight", {embedding, image.width}, "visual.proj");
  table.turned("text.head.projection.weight", {embedding, text.width}, text_prefix + "text_projection");
  table.left("attn_mask");
  table.left("text.attn_mask");
  for (const char* key : {"input_resolution", "context_length", "vocab_size"}) table.left(key);  // OpenAI's own files
  return table;
}

constexpr std::string_view kOpenClipSpellings[] = {"", "text."};

}  // namespace

const Family kClipOfHuggingFace{.name = "CLIP",
                                .library = Library::kHuggingFace,
                                .model_type = "clip",
                                .task = "contrastive",
                                .is_it = is_any,
                                .link_config = link_hugging_face,
                                .tensors = hugging_face_tensors,
                                .spellings = kSpellings};
const Family kClipOfOpenClip{.name = "CLIP",
                             .library = Library::kOpenClip,
                             .model_type = "",
                             .task = "contrastive",
                             .is_it = is_open_clip,
                             .link_config = link_open_clip,
                             .tensors = open_clip_tensors,
                             .spellings = kOpenClipSpellings};

}  // namespace triptych::interop
