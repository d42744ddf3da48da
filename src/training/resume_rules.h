#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config_difference.h"
#include "training/run_config.h"

// What may differ between a checkpoint's config and that of the run that goes on from it.

namespace triptych::training {

/// What becomes of a key that has another value than in the checkpoint.
enum class ChangeRule {
  kRefused,    ///< the rest would be another run: other samples, random numbers or tensors
  kOnRequest,  ///< the rest learns otherwise: only with --allow-change KEY
  kFree        ///< how and where it is computed, kept and measured: told
};

/// The rule of a key, by the table in resume_rules.cpp; a key that no row names learns otherwise: kOnRequest.
ChangeRule change_rule(std::string_view key);
/// True if a row of the table names the key or its section.
bool has_change_rule(std::string_view key);

/// The table in Markdown, for docs/configuration.md.
std::string change_rules_documentation();

/// Holds a config against the one that a checkpoint was saved with.
///   then     the checkpoint's effective config
///   allowed  keys that may change on request
/// Throws one UserError with all differences that are refused or were not requested, and the flags that would allow
/// the latter. `needs_request` is false for a run that has nothing left to do: then nothing is learned otherwise.
std::vector<ConfigDifference> judge_changes(std::string_view checkpoint, std::string_view then, const RunConfig& config,
                                            const std::vector<std::string>& allowed, bool needs_request);

/// A line a difference: "optimizer.learning_rate: 0.001 -> 0.01 (as requested)".
std::vector<std::string> describe_changes(const std::vector<ConfigDifference>& differences);

}  // namespace triptych::training
