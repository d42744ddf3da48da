#pragma once

#include <span>
#include <string_view>

#include "interop/config_links.h"
#include "interop/tensor_links.h"

namespace triptych::interop {

/// Whose files they are.
enum class Library {
  kOpenClip,     ///< open_clip: open_clip_config.json, open_clip_model.safetensors
  kHuggingFace,  ///< transformers: config.json, model.safetensors
};
/// "open_clip", "hf".
std::string_view library_name(Library library);

/// A family of published models in one library's files, and the same model here: one file of this folder each.
struct Family {
  std::string_view name;  ///< for people: "CLIP"
  Library library;
  std::string_view model_type;  ///< of transformers' config.json; "": recognised by `is_it` alone
  std::string_view task;        ///< ours
  /// Whether their config is one of this family; of those with the model type.
  bool (*is_it)(const nlohmann::json& config);
  /// The keys, in either direction: see ConfigLinks.
  void (*link_config)(ConfigLinks& links);
  /// The parameters of a model with these keys of ours, with their names in one of the family's spellings.
  TensorTable (*tensors)(const ModelKeys& ours, const std::string& spelling);
  /// What their names have in front, or another mark of the family's own. The first is that of an export; of a file it
  /// is the first with which all of the table is there.
  std::span<const std::string_view> spellings;
};

std::span<const Family> all_families();

// One a file.
extern const Family kClipOfHuggingFace, kClipOfOpenClip, kSiglipOfHuggingFace, kVit, kBert, kGpt2, kLlama;

}  // namespace triptych::interop
