#include "interop/families.h"
#include "interop/towers.h"

// GPT-2 (Radford et al. 2019), as transformers has it: its products have their inputs first.

namespace triptych::interop {
namespace {

constexpr std::string_view kSpellings[] = {"transformer.", ""};

bool is_any(const nlohmann::json&) {
  return true;
}

void link(ConfigLinks& links) {
  links.theirs_is("model_type", "gpt2");
  link_common_keys(links);
  links.integer("model.text.width", "n_embd", 768);
  links.integer("model.text.layers", "n_layer", 12);
  links.integer("model.text.heads", "n_head", 12);
  links.integer("model.text.length", "n_positions", 1024);
  links.integer("model.text.vocabulary", "vocab_size", 50257);
  links.word("model.text.activation", "activation_function",
             {{"gelu_tanh", "gelu_new"}, {"gelu_tanh", "gelu_pytorch_tanh"}, {"gelu", "gelu"}}, "gelu_new");
  links.number("model.text.norm_epsilon", "layer_norm_epsilon", 1e-5);
  links.number("model.dropout", "resid_pdrop", 0.1);
  if (links.imports()) {
    links.set("model.text.feed_forward", links.read_integer("n_inner", 4 * links.ours().integer("model.text.width")));
  } else {
    links.write("n_inner", links.our_integer("model.text.feed_forward"));
    links.write("architectures", {"GPT2LMHeadModel"});
  }
  links.theirs_is("scale_attn_weights", true);
  links.theirs_is("scale_attn_by_inverse_layer_idx", false);
  links.theirs_is("add_cross_attention", false);
  links.theirs_is("tie_word_embeddings", true);
  links.theirs_free({"n_ctx", "embd_pdrop", "attn_pdrop", "reorder_and_upcast_attn", "summary_activation",
                     "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj"});
  links.ours_is("task", "language");
  links.ours_is("model.connector.kind", "none");
  links.ours_is("model.tied_output", true);
  links.ours_free({"model.text.drop_path", "model.image.size", "model.image.patch", "model.image.width",
                   "model.image.layers", "model.image.heads", "model.image.feed_forward"});
}

TensorTable tensors(const ModelKeys& ours, const std::string& prefix) {
  const Stack text = stack_of(ours, "model.text");
  const int64_t h = text.width, f = text.feed_forward, vocabulary = ours.integer("model.text.vocabulary");
  TensorTable table;
  table.same("text.embed.tokens.weight", prefix + "wte.weight", {vocabulary, h});
  table.same("text.embed.positions", prefix + "wpe.weight", {ours.integer("model.text.length"), h});
  for (int64_t i = 0; i < text.layers; ++i) {
    const std::string mine = fmt::format("text.blocks.{}", i), other = fmt::format("{}h.{}", prefix, i);
    table.norm(mine + ".attention.norm", other + ".ln_1", h);
    table.turned(mine + ".attention.qkv.weight", {3, h, h}, other + ".attn.c_attn.weight");
    table.same(mine + ".attention.qkv.bias", {3, h}, other + ".attn.c_attn.bias", {3 * h});
    table.turned(mine + ".attention.out.weight", {h, h}, other + ".attn.c_proj.weight");
    table.same(mine + ".attention.out.bias", other + ".attn.c_proj.bias", {h});
    table.norm(mine + ".feed_forward.norm", other + ".ln_2", h);
    table.turned(mine + ".feed_forward.in.weight", {f, h}, other + ".mlp.c_fc.weight");
    table.same(mine + ".feed_forward.in.bias", other + ".mlp.c_fc.bias", {f});
    table.turned(mine + ".feed_forward.out.weight", {h, f}, other + ".mlp.c_proj.weight");
    table.same(mine + ".feed_forward.out.bias", other + ".mlp.c_proj.bias", {h});
  }
  table.norm("text.output.norm", prefix + "ln_f", h);
  table.copy("lm_head.weight", prefix + "wte.weight");
  table.left(prefix + "h.*.attn.bias");  // the causal mask
  table.left(prefix + "h.*.attn.masked_bias");
  return table;
}

}  // namespace

const Family kGpt2{.name = "GPT-2",
                   .library = Library::kHuggingFace,
                   .model_type = "gpt2",
                   .task = "language",
                   .is_it = is_any,
                   .link_config = link,
                   .tensors = tensors,
                   .spellings = kSpellings};

}  // namespace triptych::interop
