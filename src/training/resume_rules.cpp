#include "training/resume_rules.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/name_pattern.h"

namespace triptych::training {
namespace {

struct RuleRow {
  std::string_view key;  ///< a key, `*` standing for a part of it, or a section with its point at the end
  ChangeRule rule;
};

// Of the rows that fit a key the longest holds. What the data hold, and in which order it is drawn, is compared by
// itself (require_same_data), so paths are free, and so are weights of sources that come to the same shares.
constexpr std::array kRules = {
    RuleRow{"task", ChangeRule::kRefused},
    RuleRow{"run.", ChangeRule::kFree},
    RuleRow{"run.seed", ChangeRule::kRefused},
    RuleRow{"parallel.", ChangeRule::kFree},
    RuleRow{"training.", ChangeRule::kOnRequest},
    RuleRow{"training.stop_after", ChangeRule::kFree},
    RuleRow{"training.max_skipped_steps", ChangeRule::kFree},
    RuleRow{"training.global_batch", ChangeRule::kRefused},
    RuleRow{"optimizer.", ChangeRule::kOnRequest},
    RuleRow{"optimizer.groups.*.pattern", ChangeRule::kRefused},
    RuleRow{"optimizer.groups.*.frozen", ChangeRule::kRefused},
    RuleRow{"optimizer.groups.*.thaw_step", ChangeRule::kRefused},
    RuleRow{"adapters.", ChangeRule::kRefused},
    RuleRow{"init.", ChangeRule::kFree},
    RuleRow{"data.", ChangeRule::kFree},
    RuleRow{"data.filter", ChangeRule::kOnRequest},
    RuleRow{"data.augment.", ChangeRule::kOnRequest},
    RuleRow{"data.modality_dropout.", ChangeRule::kOnRequest},
    RuleRow{"checkpoint.", ChangeRule::kFree},
    RuleRow{"evaluation.", ChangeRule::kFree},
    RuleRow{"decoding.", ChangeRule::kFree},
    RuleRow{"model.", ChangeRule::kRefused},
    RuleRow{"model.dropout", ChangeRule::kOnRequest},
    RuleRow{"model.*.drop_path", ChangeRule::kOnRequest},
    RuleRow{"objective.", ChangeRule::kOnRequest},
};

const RuleRow* row_of(std::string_view key) {
  const RuleRow* found = nullptr;
  for (const RuleRow& row : kRules) {
    const bool fits = row.key.ends_with('.') ? key.starts_with(row.key) : match_pattern(row.key, key).has_value();
    if (fits && (found == nullptr || row.key.size() > found->key.size())) found = &row;
  }
  return found;
}

// A key that is gone changes nothing that could be refused: the program has nothing of that name any more. But those of
// groups and adapters are gone where the config has fewer, and they decide what a checkpoint has.
ChangeRule rule_of(const ConfigDifference& difference) {
  const ChangeRule rule = change_rule(difference.key);
  const bool is_of_table = difference.key.starts_with("optimizer.groups.") || difference.key.starts_with("adapters.");
  const bool is_gone = difference.now.empty() && !is_of_table;
  return rule == ChangeRule::kRefused && is_gone ? ChangeRule::kOnRequest : rule;
}

bool contains(const std::vector<std::string>& texts, const std::string& text) {
  return std::find(texts.begin(), texts.end(), text) != texts.end();
}

}  // namespace

ChangeRule change_rule(std::string_view key) {
  const RuleRow* row = row_of(key);
  return row == nullptr ? ChangeRule::kOnRequest : row->rule;
}

bool has_change_rule(std::string_view key) {
  return row_of(key) != nullptr;
}

std::string change_rules_documentation() {
  const auto list = [](ChangeRule rule) {
    std::string text;
    for (const RuleRow& row : kRules) {
      if (row.rule != rule) continue;
      text += fmt::format("{}`{}{}`", text.empty() ? "" : ", ", row.key, row.key.ends_with('.') ? "*" : "");
    }
    return text;
  };
  return fmt::format(
      "\n# What may change when a run goes on\n\n"
      "`--resume` compares the config with the checkpoint's, key by key, and tells every difference. Of two rows that "
      "fit\na key the longer one holds; a key that none fits changes on request.\n\n"
      "| a change is | of |\n|---|---|\n| refused | {} |\n| made with `--allow-change KEY` | {} |\n| made | {} |\n",
      list(ChangeRule::kRefused), list(ChangeRule::kOnRequest), list(ChangeRule::kFree));
}

std::vector<ConfigDifference> judge_changes(std::string_view checkpoint, std::string_view then, const RunConfig& config,
                                            const std::vector<std::string>& allowed, bool needs_request) {
  std::vector<ConfigDifference> differences = compare_configs(then, config.effective_toml, config.default_toml);
  for (const std::string& key : allowed) {
    const bool is_known =
        fmt::format("\n{}", config.default_toml).find(fmt::format("\n{} = ", key)) != std::string::npos;
    const bool is_gone = std::any_of(differences.begin(), differences.end(),
                                     [&](const ConfigDifference& difference) { return difference.key == key; });
    if (!is_known && !is_gone) {
      throw UserError("--allow-change", fmt::format("must name a key of the config, found `{}`. docs/configuration.md "
                                                    "lists them",
                                                    key));
    }
  }
  std::string refused, unrequested, flags;
  bool is_other_model = false;
  for (const ConfigDifference& difference : differences) {
    const ChangeRule rule = rule_of(difference);
    if (rule == ChangeRule::kRefused) {
      refused += fmt::format("\n  {} = {}, the config says {}", difference.key, difference.then, difference.now);
      is_other_model = is_other_model || difference.key == "task" || difference.key.starts_with("model.") ||
                       difference.key.starts_with("adapters.");
    } else if (rule == ChangeRule::kOnRequest && needs_request && !contains(allowed, difference.key)) {
      unrequested += "\n  " + difference.describe();
      flags += " --allow-change " + difference.key;
    }
  }
  if (!refused.empty()) {
    throw UserError(
        checkpoint,
        fmt::format("{}what these keys were must stay as it is, since the rest would be another run:{}\nUse "
                    "the old values (config.toml in the run's folder has them), or start a new run",
                    is_other_model ? "is a checkpoint of another model; " : "", refused));
  }
  if (!unrequested.empty()) {
    throw UserError(checkpoint, fmt::format("the rest of the run would learn otherwise than what is in the "
                                            "checkpoint:{}\nUse the old values, or say that it is meant:{}",
                                            unrequested, flags));
  }
  return differences;
}

std::vector<std::string> describe_changes(const std::vector<ConfigDifference>& differences) {
  std::vector<std::string> lines;
  for (const ConfigDifference& difference : differences) {
    const bool is_free = rule_of(difference) == ChangeRule::kFree;
    lines.push_back(fmt::format("  {}{}", difference.describe(), is_free ? "" : " (learns otherwise from here on)"));
  }
  return lines;
}

}  // namespace triptych::training
