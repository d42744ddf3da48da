#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "data/scratch_folder.h"
#include "interop/families.h"

namespace triptych::test {

/// A small model of a family: the config that its library would write, with sizes of which no two are equal where that
/// can be.
struct SmallModel {
  const Family* family;
  nlohmann::json config;
};

inline std::vector<SmallModel> small_models() {
  using nlohmann::json;
  const json image{{"hidden_size", 12},       {"num_hidden_layers", 2}, {"num_attention_heads", 3},
                   {"intermediate_size", 20}, {"image_size", 8},        {"patch_size", 4}};
  const json text{{"hidden_size", 8},        {"num_hidden_layers", 3}, {"num_attention_heads", 2},
                  {"intermediate_size", 14}, {"vocab_size", 30},       {"max_position_embeddings", 7}};
  json vit = image, bert = text, llama = text;
  vit.update({{"model_type", "vit"}, {"id2label", {{"0", "a"}, {"1", "b"}, {"2", "c"}}}});
  bert["model_type"] = "bert";
  llama.update({{"model_type", "llama"}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}});
  const json open_clip{
      {"model_cfg",
       {{"embed_dim", 10},
        {"quick_gelu", true},
        {"vision_cfg",
         {{"image_size", 8}, {"layers", 2}, {"width", 12}, {"patch_size", 4}, {"head_width", 4}, {"mlp_ratio", 1.75}}},
        {"text_cfg",
         {{"context_length", 7}, {"vocab_size", 30}, {"width", 8}, {"heads", 2}, {"layers", 3}, {"mlp_ratio", 2.0}}}}}};
  return {
      {&kClipOfHuggingFace,
       {{"model_type", "clip"}, {"projection_dim", 10}, {"text_config", text}, {"vision_config", image}}},
      {&kClipOfOpenClip, open_clip},
      {&kSiglipOfHuggingFace,
       {{"model_type", "siglip"},
        {"text_config",
         [&] {
           json t = text;
           t["projection_size"] = 12;
           return t;
         }()},
        {"vision_config", image}}},
      {&kVit, vit},
      {&kBert, bert},
      {&kGpt2,
       {{"model_type", "gpt2"}, {"n_embd", 8}, {"n_layer", 2}, {"n_head", 2}, {"n_positions", 7}, {"vocab_size", 30}}},
      {&kLlama, llama}};
}

/// The tensors that the family's table has of the model, each of values that no other has.
inline std::map<std::string, std::pair<Dims, std::vector<float>>> tensors_of(const SmallModel& model) {
  ConfigLinks links(model.config, "config.json");
  model.family->link_config(links);
  links.finish();
  std::map<std::string, std::pair<Dims, std::vector<float>>> tensors;
  float next = 1;
  const TensorTable table = model.family->tensors(links.ours(), std::string(model.family->spellings.front()));
  for (const TensorLink& link : table.links()) {
    auto& [shape, values] = tensors[link.theirs];
    if (!values.empty()) continue;
    shape = link.their_shape;
    values.resize(static_cast<std::size_t>(volume(shape)));
    for (float& value : values) value = (next += 1) / 1024;
  }
  return tensors;
}

/// A file of them, in a dtype whose elements are given by `encode`.
template <typename T>
void write_tensors(const std::filesystem::path& path,
                   const std::map<std::string, std::pair<Dims, std::vector<float>>>& tensors) {
  std::vector<std::vector<T>> all;
  std::vector<SafetensorsInput> inputs;
  for (const auto& [name, tensor] : tensors) {
    std::vector<T>& values = all.emplace_back();
    for (const float value : tensor.second) values.push_back(T(value));
    inputs.push_back({name, dtype_of<T>, tensor.first, reinterpret_cast<const std::byte*>(values.data())});
  }
  write_safetensors(path, inputs, {{"format", "pt"}});
}

/// The folder as the library saves it.
inline void write_model(const std::filesystem::path& folder, const SmallModel& model) {
  std::filesystem::create_directories(folder);
  const bool is_open_clip = model.family->library == Library::kOpenClip;
  write_tensors<float>(folder / (is_open_clip ? "open_clip_model.safetensors" : "model.safetensors"),
                       tensors_of(model));
  write_file_atomically(folder / (is_open_clip ? "open_clip_config.json" : "config.json"), model.config.dump());
}

}  // namespace triptych::test
