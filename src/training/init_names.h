#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/rooms.h"

// Which parameters of a model come from which of another's: a function of names alone.

namespace triptych::training {

/// A pattern of names in a checkpoint, and what such a name is in the model: the k-th `*` of `new_pattern` stands for
/// what the k-th of `old_pattern` does. An empty new pattern: it is none of the model's.
struct NameChange {
  std::string old_pattern, new_pattern;
};

/// The name that the first change whose pattern matches gives to `old_name`; itself if none matches; "" if it is not to
/// be taken.
std::string changed_name(const std::vector<NameChange>& changes, const std::string& old_name);

/// All lists in the order of names.
struct InitNames {
  std::map<std::string, std::string> taken;  ///< the checkpoint's name by the model's
  std::vector<std::string> fresh;            ///< of the model: they begin as in a run from the beginning
  std::vector<std::string> left;             ///< of the checkpoint: nothing has them
};

/// Throws UserError if two names of the checkpoint become one of the model, or a change's pattern is of no name.
InitNames match_names(const std::vector<NameChange>& changes, const std::vector<std::string>& model,
                      const std::vector<std::string>& checkpoint);

/// "31: image.blocks.0.attention.norm.bias, image.blocks.0.attention.norm.weight and 29 more"; "none" of an empty list.
std::string short_list(const std::vector<std::string>& names);

}  // namespace triptych::training
