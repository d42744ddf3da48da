#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "interop/families.h"

namespace triptych::interop {

/// What a model is, as the other library's files say it, in one object: transformers' config.json, and as its key
/// `preprocessor` the preprocessor_config.json of `folder`, if there is one; open_clip's `model_cfg`, which may be the
/// whole of `file`, and what stands beside it. Nobody vouches for any of it. Throws WorldError if a file is damaged or
/// too large, UserError if it is none of open_clip's.
nlohmann::json read_their_config(Library library, const std::filesystem::path& file,
                                 const std::filesystem::path& folder);

/// The family that it is of. Throws UserError that lists what there is; `where` names the file.
const Family& family_of(Library library, const nlohmann::json& config, const std::string& where);

}  // namespace triptych::interop
