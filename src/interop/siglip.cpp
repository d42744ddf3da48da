#include "interop/families.h"
#include "interop/towers.h"

// SigLIP (Zhai et al. 2023), as transformers has it.

namespace triptych::interop {
namespace {

constexpr std::string_view kSpellings[] = {""};

bool is_any(const nlohmann::json&) {
  return true;
}

void link(ConfigLinks& links) {
  links.theirs_is("model_type", "siglip");
  link_common_keys(links);
  link_common_keys(links, "text_config.");
  link_common_keys(links, "vision_config.");
  links.theirs_free({"text_config.attention_dropout", "vision_config.attention_dropout"});
  const EncoderDefaults defaults{.activation = "gelu_pytorch_tanh", .epsilon = 1e-6};
  link_encoder(links, "model.image", "vision_config.", defaults);
  link_patches(links, "vision_config.", 224, 16);
  link_encoder(links, "model.text", "text_config.", defaults);
  links.integer("model.text.length", "text_config.max_position_embeddings", 64);
  links.integer("model.text.vocabulary", "text_config.vocab_size", 32000);
  links.theirs_is("vision_config.vision_use_head", true);
  link_preprocessor(links, "SiglipImageProcessor", {{0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, "stretch", "cubic"});

  links.ours_is("task", "contrastive");
  links.ours_is("objective.kind", "sigmoid");
  links.ours_is("model.image.pooling", "attention");
  links.ours_is("model.image.projection", "none");
  links.ours_is("model.text.attention", "bidirectional");
  links.ours_is("model.text.projection", "biased");
  links.ours_is("model.text.padding", "read");
  links.ours_free({"model.dropout"});
  if (links.imports()) {
    const int64_t width = links.ours().integer("model.text.width");
    links.set("model.embedding", links.read_integer("text_config.projection_size", width));
    links.set("objective.minimum_temperature", 1e-3);  // theirs is above 100
    return;
  }
  links.write("text_config.projection_size", links.our_integer("model.embedding"));
  links.write("architectures", {"SiglipModel"});
  links.write("text_config.model_type", "siglip_text_model");
  links.write("vision_config.model_type", "siglip_vision_model");
}

TensorTable tensors(const ModelKeys& ours, const std::string&) {
  constexpr BlockNames kBlock{"layer_norm1",        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                              "self_attn.out_proj", "layer_norm2",      "mlp.fc1",          "mlp.fc2"};
  const Stack image = stack_of(ours, "model.image"), text = stack_of(ours, "model.text");
  const int64_t h = image.width, t = text.width;
  const std::string head = "vision_model.head";
  TensorTable table;
  table.same("image.embed.patch.weight", {h, volume(patch_weight(ours)) / h},
             "vision_model.embeddings.patch_embedding.weight", patch_weight(ours));
  table.same("image.embed.patch.bias", "vision_model.embeddings.patch_embedding.bias", {h});
  table.same("image.embed.positions", "vision_model.embeddings.position_embedding.weight",
             {image_sequence(ours, false), h});
  add_blocks(table, "image", "vision_model.encoder.layers", image, kBlock);
  table.norm("image.pool.norm", "vision_model.post_layernorm", h);
  table.same("image.pool.queries", {1, h}, head + ".probe", {1, 1, h});
  table.packed({{"image.pool.q.weight", {h, h}}, {"image.pool.kv.weight", {2, h, h}}},
               head + ".attention.in_proj_weight", {3 * h, h});
  table.packed({{"image.pool.q.bias", {h}}, {"image.pool.kv.bias", {2, h}}}, head + ".attention.in_proj_bias", {3 * h});
  table.product("image.pool.out", head + ".attention.out_proj", h, h);
  table.norm("image.pool.feed_forward.norm", head + ".layernorm", h);
  table.product("image.pool.feed_forward.in", head + ".mlp.fc1", image.feed_forward, h);
  table.product("image.pool.feed_forward.out", head + ".mlp.fc2", h, image.feed_forward);
  table.same("text.embed.tokens.weight", "text_model.embeddings.token_embedding.weight",
             {ours.integer("model.text.vocabulary"), t});
  table.same("text.embed.positions", "text_model.embeddings.position_embedding.weight",
             {ours.integer("model.text.length"), t});
  add_blocks(table, "text", "text_model.encoder.layers", text, kBlock);
  table.norm("text.head.norm", "text_model.final_layer_norm", t);
  table.product("text.head.projection", "text_model.head", ours.integer("model.embedding"), t);
  table.same("objective.log_scale", "logit_scale", {1});
  table.same("objective.bias", "logit_bias", {1});
  table.left("*.embeddings.position_ids");
  return table;
}

}  // namespace

const Family kSiglipOfHuggingFace{.name = "SigLIP",
                                  .library = Library::kHuggingFace,
                                  .model_type = "siglip",
                                  .task = "contrastive",
                                  .is_it = is_any,
                                  .link_config = link,
                                  .tensors = tensors,
                                  .spellings = kSpellings};

}  // namespace triptych::interop
