#include "interop/their_config.h"

#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"
#include "interop/tensor_files.h"

namespace triptych::interop {

using nlohmann::json;

json read_their_config(Library library, const std::filesystem::path& file, const std::filesystem::path& folder) {
  json config = read_json_file(file);
  if (library == Library::kOpenClip) {
    if (!config.contains("model_cfg") && config.contains("embed_dim")) config = json{{"model_cfg", config}};
    if (!config.contains("model_cfg") || !config["model_cfg"].is_object()) {
      throw UserError(file.string(),
                      "must have model_cfg, or be one: embed_dim, vision_cfg, text_cfg. Name open_clip's "
                      "config with --model-config");
    }
    return config;
  }
  const std::filesystem::path preprocessor = folder / "preprocessor_config.json";
  if (std::filesystem::exists(preprocessor)) config["preprocessor"] = read_json_file(preprocessor);
  return config;
}

const Family& family_of(Library library, const json& config, const std::string& where) {
  const bool is_open_clip = library == Library::kOpenClip;
  const json type = is_open_clip ? json() : config.value("model_type", json());
  std::vector<std::string> known;
  for (const Family& family : all_families()) {
    if (family.library != library) continue;
    if (is_open_clip ? family.is_it(config["model_cfg"]) : type == family.model_type && family.is_it(config)) {
      return family;
    }
    known.emplace_back(family.model_type.empty() ? family.name : family.model_type);
  }
  throw UserError(where, is_open_clip
                             ? "must be of CLIP with a vision Transformer of open_clip's own, found a tower of another "
                               "kind. docs/interop.md lists the families"
                             : fmt::format("model_type must be one of {}, found {}. docs/interop.md lists the families",
                                           fmt::join(known, ", "), type.dump().substr(0, 100)));
}

}  // namespace triptych::interop
