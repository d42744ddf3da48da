#include "training/init_names.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/name_pattern.h"

namespace triptych::training {
namespace {

constexpr std::size_t kMostListed = 4;

// The first change that matches; the number of changes if none does.
std::size_t change_of(const std::vector<NameChange>& changes, const std::string& old_name) {
  const auto matches = [&](const NameChange& one) { return match_pattern(one.old_pattern, old_name).has_value(); };
  return static_cast<std::size_t>(std::find_if(changes.begin(), changes.end(), matches) - changes.begin());
}

}  // namespace

std::string changed_name(const std::vector<NameChange>& changes, const std::string& old_name) {
  const std::size_t index = change_of(changes, old_name);
  if (index == changes.size()) return old_name;
  const std::vector<std::string> stars = match_pattern(changes[index].old_pattern, old_name).value();
  std::string name;
  std::size_t star = 0;
  for (const char letter : changes[index].new_pattern) {
    if (letter == '*') {
      name += stars.at(star++);
    } else {
      name += letter;
    }
  }
  return name;
}

InitNames match_names(const std::vector<NameChange>& changes, const std::vector<std::string>& model,
                      const std::vector<std::string>& checkpoint) {
  InitNames result;
  const std::set<std::string> wanted(model.begin(), model.end());
  std::vector<bool> is_used(changes.size() + 1);
  for (const std::string& old_name : checkpoint) {
    is_used[change_of(changes, old_name)] = true;
    const std::string name = changed_name(changes, old_name);
    if (!wanted.contains(name)) {
      result.left.push_back(old_name);
      continue;
    }
    const auto [place, is_new] = result.taken.emplace(name, old_name);
    if (is_new) continue;
    throw UserError("init.map", fmt::format("two parameters of the checkpoint must not become one, found {} and {} as "
                                            "{}. Leave one out: new = \"\"",
                                            place->second, old_name, name));
  }
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (is_used[i]) continue;
    const std::string near = nearest_pattern(changes[i].old_pattern, checkpoint);
    throw UserError(
        fmt::format("init.map.{}.old", i),
        fmt::format(
            "a pattern must be the first that matches some parameter of the checkpoint, found `{}`. "
            "{}",
            changes[i].old_pattern,
            near.empty() ? "`triptych inspect --tensors` of it lists them" : fmt::format("Did you mean `{}`?", near)));
  }
  for (const std::string& name : wanted) {
    if (!result.taken.contains(name)) result.fresh.push_back(name);
  }
  std::sort(result.left.begin(), result.left.end());
  return result;
}

std::string short_list(const std::vector<std::string>& names) {
  if (names.empty()) return "none";
  const std::size_t shown = names.size() <= kMostListed + 1 ? names.size() : kMostListed;
  std::string text = fmt::format("{}: ", names.size());
  for (std::size_t i = 0; i < shown; ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (shown < names.size()) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

}  // namespace triptych::training
