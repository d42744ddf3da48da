#include <algorithm>

#include "interop/families.h"
#include "interop/towers.h"

// Llama (Touvron et al. 2023), as transformers has it.

namespace triptych::interop {
namespace {

constexpr std::string_view kSpellings[] = {""};
constexpr int64_t kUsualLength = 2048;

bool is_any(const nlohmann::json&) {
  return true;
}

// Newer files have rope_parameters, older ones rope_theta and rope_scaling.
void link_rotary(ConfigLinks& links) {
  if (!links.imports()) {
    links.write("rope_parameters.rope_type", "default");
    links.write("rope_parameters.rope_theta", links.our_number("model.text.rotary_base"));
    links.write("rope_theta", links.our_number("model.text.rotary_base"));
    return;
  }
  links.theirs_is("rope_parameters.rope_type", "default");
  const double old = links.read_number("rope_theta", 10000.0);
  links.set("model.text.rotary_base", links.read_number("rope_parameters.rope_theta", old));
  if (const auto scaling = links.read("rope_scaling")) {
    links.problem(fmt::format("rope_scaling must be null, found {}: positions are turned without a scale here",
                              scaling->dump().substr(0, 80)));
  }
}

void link(ConfigLinks& links) {
  links.theirs_is("model_type", "llama");
  link_common_keys(links);
  links.integer("model.text.width", "hidden_size", 4096);
  links.integer("model.text.layers", "num_hidden_layers", 32);
  const int64_t heads = links.integer("model.text.heads", "num_attention_heads", 32);
  links.integer("model.text.feed_forward", "intermediate_size", 11008);
  links.integer("model.text.vocabulary", "vocab_size", 32000);
  links.word("model.text.activation", "hidden_act", {{"swiglu", "silu"}}, "silu");
  links.number("model.text.norm_epsilon", "rms_norm_eps", 1e-6);
  links.boolean("model.tied_output", "tie_word_embeddings", false);
  link_rotary(links);
  const int64_t head_dim = links.ours().integer("model.text.width") / std::max<int64_t>(1, heads);
  if (links.imports()) {
    links.set("model.text.kv_heads", links.read_integer("num_key_value_heads", heads));
    if (const int64_t found = links.read_integer("head_dim", head_dim); found != head_dim) {
      links.problem(fmt::format("head_dim must be hidden_size / num_attention_heads = {}, found {}", head_dim, found));
    }
    const bool attention = links.read("attention_bias").value_or(false) == true;
    const bool inner = links.read("mlp_bias").value_or(false) == true;
    if (attention != inner) {
      links.problem(fmt::format(
          "attention_bias and mlp_bias must be equal, found {} and {}: products have biases or not", attention, inner));
    }
    links.set("model.text.biases", attention);
    // Rotary positions have no end of their own, and a row of a batch is as long as the config says.
    const int64_t most = links.read_integer("max_position_embeddings", kUsualLength);
    links.set("model.text.length", std::min(most, kUsualLength));
    if (most > kUsualLength) {
      links.note(
          fmt::format("max_position_embeddings = {}: model.text.length is set to {}, which costs less; set it as "
                      "your texts need",
                      most, kUsualLength));
    }
  } else {
    const int64_t kv_heads = links.our_integer("model.text.kv_heads");
    links.write("num_key_value_heads", kv_heads == 0 ? heads : kv_heads);
    links.write("head_dim", head_dim);
    links.write("attention_bias", links.our_boolean("model.text.biases"));
    links.write("mlp_bias", links.our_boolean("model.text.biases"));
    links.write("max_position_embeddings", links.our_integer("model.text.length"));
    links.write("architectures", {"LlamaForCausalLM"});
  }
  links.theirs_free({"attention_dropout", "pretraining_tp", "rope_parameters.original_max_position_embeddings"});
  links.ours_is("task", "language");
  links.ours_is("model.connector.kind", "none");
  links.ours_is("model.text.norm", "rms");
  links.ours_is("model.text.positions", "rotary");
  links.ours_free({"model.dropout", "model.text.drop_path", "model.image.size", "model.image.patch",
                   "model.image.width", "model.image.layers", "model.image.heads", "model.image.feed_forward"});
}

TensorTable tensors(const ModelKeys& ours, const std::string&) {
  const Stack text = stack_of(ours, "model.text");
  const int64_t h = text.width, f = text.feed_forward, vocabulary = ours.integer("model.text.vocabulary");
  const int64_t heads = ours.integer("model.text.heads"), given = ours.integer("model.text.kv_heads");
  const int64_t kv_heads = given == 0 ? heads : given, k = h / heads * kv_heads;
  const bool has_biases = ours.boolean("model.text.biases");
  std::vector<std::pair<std::string, bool>> kinds{{".weight", true}};
  if (has_biases) kinds.emplace_back(".bias", false);
  const auto shape_of = [&](int64_t outputs, bool is_weight) { return is_weight ? Dims{outputs, h} : Dims{outputs}; };
  TensorTable table;
  table.same("text.embed.tokens.weight", "model.embed_tokens.weight", {vocabulary, h});
  for (int64_t i = 0; i < text.layers; ++i) {
    const std::string mine = fmt::format("text.blocks.{}", i), other = fmt::format("model.layers.{}", i);
    const std::string q = other + ".self_attn.q_proj", key = other + ".self_attn.k_proj",
                      value = other + ".self_attn.v_proj";
    table.same(mine + ".attention.norm.weight", other + ".input_layernorm.weight", {h});
    for (const auto& [kind, is_weight] : kinds) {
      if (kv_heads == heads) {
        table.stacked(mine + ".attention.qkv" + kind, shape_of(h, is_weight), {q + kind, key + kind, value + kind});
      } else {
        table.same(mine + ".attention.q" + kind, q + kind, shape_of(h, is_weight));
        table.stacked(mine + ".attention.kv" + kind, shape_of(k, is_weight), {key + kind, value + kind});
      }
      table.stacked(mine + ".feed_forward.in" + kind, shape_of(f, is_weight),
                    {other + ".mlp.gate_proj" + kind, other + ".mlp.up_proj" + kind});
    }
    table.product(mine + ".attention.out", other + ".self_attn.o_proj", h, h, has_biases);
    table.same(mine + ".feed_forward.norm.weight", other + ".post_attention_layernorm.weight", {h});
    table.product(mine + ".feed_forward.out", other + ".mlp.down_proj", h, f, has_biases);
  }
  table.same("text.output.norm.weight", "model.norm.weight", {h});
  if (ours.boolean("model.tied_output")) {
    table.copy("lm_head.weight", "model.embed_tokens.weight");
  } else {
    table.same("text.output.tokens.weight", "lm_head.weight", {vocabulary, h});
  }
  table.left("model.layers.*.self_attn.rotary_emb.inv_freq");
  return table;
}

}  // namespace

const Family kLlama{.name = "Llama",
                    .library = Library::kHuggingFace,
                    .model_type = "llama",
                    .task = "language",
                    .is_it = is_any,
                    .link_config = link,
                    .tensors = tensors,
                    .spellings = kSpellings};

}  // namespace triptych::interop
