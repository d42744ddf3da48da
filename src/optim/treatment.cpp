#include "optim/treatment.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/name_pattern.h"

namespace triptych::optim {
namespace {

std::string key_of(std::size_t group) {
  return fmt::format("optimizer.groups.{}.pattern", group);
}

// The first parts of all names: "image.*, text.*".
std::string first_parts(const std::vector<std::string>& names) {
  std::string text, last;
  for (const std::string& name : names) {
    const std::string part = name.substr(0, name.find('.'));
    if (part == last) continue;
    text += fmt::format("{}{}.*", text.empty() ? "" : ", ", part);
    last = part;
  }
  return text;
}

// A pattern that holds for no parameter: misspelt, or behind others that take all that it matches.
[[noreturn]] void throw_useless(std::size_t group, const std::string& pattern, std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  const auto matches = [&](const std::string& name) { return match_pattern(pattern, name).has_value(); };
  const auto taken = std::find_if(names.begin(), names.end(), matches);
  if (taken != names.end()) {
    throw UserError(key_of(group), fmt::format("a group must be the first that matches some parameter, found `{}`, all "
                                               "of which earlier groups have ({} for one). Put it before them, or "
                                               "leave it out",
                                               pattern, *taken));
  }
  const std::string near = nearest_pattern(pattern, names);
  throw UserError(key_of(group), fmt::format("a pattern must match a parameter's name, found `{}`. {}", pattern,
                                             near.empty() ? fmt::format("The names are {}", first_parts(names))
                                                          : fmt::format("Did you mean `{}`?", near)));
}

}  // namespace

Treatments::Treatments(const TreatmentOptions& options, std::span<const NamedParameter> parameters) {
  std::vector<bool> is_used(options.groups.size());
  std::vector<std::string> names;
  bool trains = false;
  for (const NamedParameter& parameter : parameters) {
    if (treatments_.contains(parameter.name)) continue;
    names.push_back(parameter.name);
    Treatment treatment{.learning_rate_scale = std::pow(options.layer_decay, parameter.depth)};
    for (std::size_t i = 0; i < options.groups.size(); ++i) {
      const ParameterGroup& group = options.groups[i];
      if (!match_pattern(group.pattern, parameter.name)) continue;
      is_used[i] = true;
      treatment.learning_rate_scale *= group.learning_rate_scale;
      treatment.weight_decay = group.weight_decay;
      if (group.frozen) treatment.first_step = group.thaw_step > 0 ? group.thaw_step : Treatment::kNever;
      break;
    }
    if (parameter.has_adapter) treatment.first_step = Treatment::kNever;
    trains = trains || treatment.first_step == 0;
    treatments_.emplace(parameter.name, treatment);
  }
  for (std::size_t i = 0; i < is_used.size(); ++i) {
    if (!is_used[i]) throw_useless(i, options.groups[i].pattern, std::move(names));
  }
  if (!trains) {
    throw UserError("optimizer.groups", fmt::format("some parameter must be trained from the first step on, found all "
                                                    "{} frozen. Leave a group out, or narrow its pattern",
                                                    names.size()));
  }
}

const Treatment& Treatments::of(const std::string& name) const {
  if (treatments_.empty()) return usual_;
  const auto found = treatments_.find(name);
  TRIPTYCH_CHECK(found != treatments_.end(), "there is no parameter {}", name);
  return found->second;
}

std::set<int64_t> Treatments::thaw_steps() const {
  std::set<int64_t> steps;
  for (const auto& [name, treatment] : treatments_) {
    if (treatment.first_step > 0 && treatment.first_step < Treatment::kNever) steps.insert(treatment.first_step);
  }
  return steps;
}

}  // namespace triptych::optim
