#include "interop/families.h"
#include "interop/towers.h"

// ViT for classification (Dosovitskiy et al. 2021), as transformers has it.

namespace triptych::interop {
namespace {

constexpr std::string_view kSpellings[] = {""};

bool is_any(const nlohmann::json&) {
  return true;
}

// The classes are told by their names alone.
void link_classes(ConfigLinks& links) {
  if (links.imports()) {
    const auto names = links.read("id2label");
    if (names && names->is_object() && names->size() >= 2) {
      links.set("model.classes", static_cast<int64_t>(names->size()));
      links.note("id2label: the names of the classes are not kept, their order is. Name the classes of a data set");
    } else {
      links.set("model.classes", links.read_integer("num_labels", 2));
    }
    links.theirs_free({"label2id", "id2label", "num_labels"});
    return;
  }
  const int64_t classes = links.our_integer("model.classes");
  nlohmann::json names = nlohmann::json::object(), numbers = names;
  for (int64_t i = 0; i < classes; ++i) {
    names[fmt::format("{}", i)] = fmt::format("LABEL_{}", i);
    numbers[fmt::format("LABEL_{}", i)] = i;
  }
  links.write("id2label", std::move(names));
  links.write("label2id", std::move(numbers));
}

void link(ConfigLinks& links) {
  links.theirs_is("model_type", "vit");
  link_encoder(links, "model.image", "", {});
  link_patches(links, "", 224, 16);
  link_classes(links);
  link_common_keys(links);
  links.theirs_is("qkv_bias", true);
  links.theirs_free({"attention_probs_dropout_prob", "encoder_stride", "pooler_output_size", "pooler_act"});
  links.number("model.dropout", "hidden_dropout_prob", 0.0);
  link_preprocessor(links, "ViTImageProcessor", {{0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}, "stretch", "linear"});
  links.ours_is("task", "classify");
  links.ours_is("model.image.pooling", "class");
  if (!links.imports()) links.write("architectures", {"ViTForImageClassification"});
}

TensorTable tensors(const ModelKeys& ours, const std::string&) {
  constexpr BlockNames kBlock{
      "layernorm_before",       "attention.attention.query", "attention.attention.key", "attention.attention.value",
      "attention.output.dense", "layernorm_after",           "intermediate.dense",      "output.dense"};
  const Stack image = stack_of(ours, "model.image");
  const int64_t h = image.width, sequence = image_sequence(ours, true);
  const std::string embeddings = "vit.embeddings";
  TensorTable table;
  table.same("image.embed.patch.weight", {h, volume(patch_weight(ours)) / h},
             embeddings + ".patch_embeddings.projection.weight", patch_weight(ours));
  table.same("image.embed.patch.bias", embeddings + ".patch_embeddings.projection.bias", {h});
  table.same("image.embed.class_token", {h}, embeddings + ".cls_token", {1, 1, h});
  table.same("image.embed.positions", {sequence, h}, embeddings + ".position_embeddings", {1, sequence, h});
  add_blocks(table, "image", "vit.encoder.layer", image, kBlock);
  table.norm("classify.head.norm", "vit.layernorm", h);
  table.product("classify.head", "classifier", ours.integer("model.classes"), h);
  return table;
}

}  // namespace

const Family kVit{.name = "ViT",
                  .library = Library::kHuggingFace,
                  .model_type = "vit",
                  .task = "classify",
                  .is_it = is_any,
                  .link_config = link,
                  .tensors = tensors,
                  .spellings = kSpellings};

}  // namespace triptych::interop
