#include "interop/families.h"
#include "interop/towers.h"

// BERT with its masked language model (Devlin et al. 2019), as transformers has it.

namespace triptych::interop {
namespace {

// Older files have the norms' weights and biases as the paper calls them.
constexpr std::string_view kSpellings[] = {"", "gamma and beta"};

bool is_any(const nlohmann::json&) {
  return true;
}

void link(ConfigLinks& links) {
  links.theirs_is("model_type", "bert");
  link_encoder(links, "model.text", "", {});
  link_common_keys(links);
  links.integer("model.text.length", "max_position_embeddings", 512);
  links.integer("model.text.vocabulary", "vocab_size", 30522);
  links.integer("model.text.segments", "type_vocab_size", 2);
  links.number("model.dropout", "hidden_dropout_prob", 0.1);
  links.theirs_is("position_embedding_type", "absolute");
  links.theirs_is("is_decoder", false);
  links.theirs_is("tie_word_embeddings", true);
  links.theirs_free({"attention_probs_dropout_prob", "classifier_dropout", "add_cross_attention", "pooler_fc_size",
                     "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
                     "directionality"});
  // Between the encoder and the scores stands the activation of the blocks, which here is always the exact GELU.
  if (const std::string& found = links.ours().word("model.text.activation"); found != "gelu") {
    links.problem(fmt::format("{} must be the exact GELU, found what is {} here",
                              links.imports() ? "hidden_act" : "model.text.activation", found));
  }
  links.ours_is("task", "masked_text");
  links.ours_is("model.text.norm_position", "post");
  links.ours_is("model.text.input_norm", true);
  links.ours_is("model.tied_output", true);
  links.ours_is("model.transform_output", true);
  if (!links.imports()) links.write("architectures", {"BertForMaskedLM"});
}

TensorTable tensors(const ModelKeys& ours, const std::string& spelling) {
  constexpr BlockNames kBlock{
      "attention.output.LayerNorm", "attention.self.query", "attention.self.key", "attention.self.value",
      "attention.output.dense",     "output.LayerNorm",     "intermediate.dense", "output.dense"};
  const Stack text = stack_of(ours, "model.text");
  const int64_t h = text.width, vocabulary = ours.integer("model.text.vocabulary");
  const std::string embeddings = "bert.embeddings", head = "cls.predictions";
  TensorTable table;
  table.same("text.embed.tokens.weight", embeddings + ".word_embeddings.weight", {vocabulary, h});
  table.same("text.embed.positions", embeddings + ".position_embeddings.weight",
             {ours.integer("model.text.length"), h});
  const int64_t segments = ours.integer("model.text.segments");
  if (segments > 0) {
    table.same("text.embed.segments", embeddings + ".token_type_embeddings.weight", {segments, h});
  }
  table.norm("text.embed.norm", embeddings + ".LayerNorm", h);
  add_blocks(table, "text", "bert.encoder.layer", text, kBlock);
  table.product("text.output.transform", head + ".transform.dense", h, h);
  table.norm("text.output.transform.norm", head + ".transform.LayerNorm", h);
  table.same("text.output.bias", head + ".bias", {vocabulary});
  table.copy(head + ".decoder.weight", embeddings + ".word_embeddings.weight");
  table.copy(head + ".decoder.bias", head + ".bias");
  if (!spelling.empty()) {
    table.respell(".LayerNorm.weight", ".LayerNorm.gamma");
    table.respell(".LayerNorm.bias", ".LayerNorm.beta");
  }
  table.left("bert.embeddings.position_ids");
  table.left("bert.pooler.*", "the pooler, which masked tokens do not see");
  table.left("cls.seq_relationship.*", "the head of the next sentence");
  return table;
}

}  // namespace

const Family kBert{.name = "BERT",
                   .library = Library::kHuggingFace,
                   .model_type = "bert",
                   .task = "masked_text",
                   .is_it = is_any,
                   .link_config = link,
                   .tensors = tensors,
                   .spellings = kSpellings};

}  // namespace triptych::interop
