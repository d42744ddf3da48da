#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "interop/families.h"
#include "tasks/standard_tasks.h"

namespace triptych::test {
namespace {

using nlohmann::json;

struct Published {
  const Family* family;
  const char* name;
  json config;
  int64_t num_parameters;
};

// Parameters as those who published the models count them: sum(p.numel() for p in model.parameters()).
std::vector<Published> published() {
  const json clip_l_text{{"hidden_size", 768}, {"intermediate_size", 3072}, {"num_attention_heads", 12}};
  const json clip_l_vision{{"hidden_size", 1024},
                           {"intermediate_size", 4096},
                           {"num_hidden_layers", 24},
                           {"num_attention_heads", 16},
                           {"patch_size", 14}};
  json labels;
  for (int i = 0; i < 1000; ++i) labels[std::to_string(i)] = "class";
  const json open_clip_b32{
      {"model_cfg",
       {{"embed_dim", 512},
        {"vision_cfg", {{"image_size", 224}, {"layers", 12}, {"width", 768}, {"patch_size", 32}}},
        {"text_cfg", {{"context_length", 77}, {"vocab_size", 49408}, {"width", 512}, {"heads", 8}, {"layers", 12}}}}}};
  return {
      {&kClipOfHuggingFace, "CLIP ViT-B/32", {{"model_type", "clip"}}, 151'277'313},
      {&kClipOfHuggingFace,
       "CLIP ViT-L/14",
       {{"model_type", "clip"},
        {"projection_dim", 768},
        {"text_config", clip_l_text},
        {"vision_config", clip_l_vision}},
       427'616'513},
      {&kClipOfOpenClip, "open_clip ViT-B-32", open_clip_b32, 151'277'313},
      {&kSiglipOfHuggingFace, "SigLIP B/16", {{"model_type", "siglip"}}, 203'155'970},
      {&kVit, "ViT-B/16 of 1000 classes", {{"model_type", "vit"}, {"id2label", labels}}, 86'567'656},
      {&kBert, "BERT base", {{"model_type", "bert"}}, 109'514'298},
      {&kGpt2, "GPT-2", {{"model_type", "gpt2"}}, 124'439'808},
      {&kLlama, "Llama 2 7B", {{"model_type", "llama"}, {"max_position_embeddings", 4096}}, 6'738'415'616},
  };
}

TEST(Families, HaveAsManyParametersAsArePublished) {
  for (const Published& one : published()) {
    SCOPED_TRACE(one.name);
    ConfigLinks links(one.config, "config.json");
    one.family->link_config(links);
    links.finish();
    const TensorTable table = one.family->tensors(links.ours(), std::string(one.family->spellings.front()));
    std::map<std::string, int64_t> ours, theirs;
    int64_t linked = 0;
    for (const TensorLink& link : table.links()) {
      ours[link.ours] = volume(link.our_shape);
      theirs[link.theirs] = volume(link.their_shape);
      linked += link.count;
    }
    int64_t our_total = 0, their_total = 0;
    for (const auto& [name, count] : ours) our_total += count;
    for (const auto& [name, count] : theirs) their_total += count;
    EXPECT_EQ(their_total, one.num_parameters);
    EXPECT_EQ(our_total, one.num_parameters);
    EXPECT_EQ(linked, one.num_parameters) << "every element is linked once";
  }
}

}  // namespace
}  // namespace triptych::test
