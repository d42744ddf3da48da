#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::checkpoint {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr std::string_view kLatestName = "latest";
inline constexpr std::string_view kBestName = "best";
inline constexpr uint64_t kMaxLatestBytes = 256;  ///< a longer one is none of ours

/// "step_00000100".
std::string step_folder_name(int64_t step);

/// The step of a folder named so, or -1.
int64_t parse_step_folder_name(std::string_view name);

/// The committed steps of a `checkpoints` folder, ascending; none if there is no such folder.
std::vector<int64_t> list_steps(const std::filesystem::path& folder);

/// A committed step, and the number of its save (Manifest::save_number).
struct SavedStep {
  int64_t step = 0;
  int64_t save_number = 0;
};
/// The committed steps in the order in which they were saved: by the number of the save, those without one first, by
/// step.
std::vector<SavedStep> list_saves(const std::filesystem::path& folder);

/// The step folder that is meant. `folder` is a run's `checkpoints` folder or a step's folder; `which` is "latest",
/// "best", a step ("100", "step_00000100"), or a path to a step folder, a manifest.json, a `checkpoints` folder or its
/// `latest` or `best`. Throws UserError if there is none, naming the steps that exist; WorldError if `latest` or `best`
/// is damaged.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& folder, std::string_view which);

/// The same for a path alone.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);

// What follows changes names and removes. It touches what saves wrote (owned_folder.h), and nothing else.

/// Gives a whole temporary folder its final name. A checkpoint of that step that is there is replaced: the two exchange
/// their names in one system call, so that at every moment one of them is whole under the final name. Where the file
/// system has no such call (NFS), or `may_exchange` is false, the old one is first renamed to `step_N.replaced`.
/// Anything else of that name is set aside; the sentence that tells it is added to `warnings`.
void move_into_place(const std::filesystem::path& temporary, const std::filesystem::path& final_folder,
                     std::span<const std::string> extra_names, std::vector<std::string>& warnings,
                     bool may_exchange = true);

/// Makes `latest` name a step, if it does not already. What is no `latest` of ours is set aside; the sentence that
/// tells it is added to `warnings`.
void write_latest(const std::filesystem::path& folder, int64_t step, std::vector<std::string>& warnings);

/// Makes `best` name a step, so that remove_old leaves it, or no step (-1), so that there is none. As write_latest.
void write_best(const std::filesystem::path& folder, int64_t step, std::vector<std::string>& warnings);

/// The step that `best` names; -1 if there is none of ours, or the step is gone.
int64_t best_step(const std::filesystem::path& folder);

/// Makes `latest` name the checkpoint whose save was killed before it could do so, if there is one: every save begins
/// with it, or two such kills in a row would leave a checkpoint that is two newer than `latest`.
void name_killed_save(const std::filesystem::path& folder, std::vector<std::string>& warnings);

/// Removes what killed saves left: step_*.tmp folders and temporary versions of `latest` and `best`. A
/// `step_N.replaced` gets its name back if nothing took its place.
void remove_leftovers(const std::filesystem::path& folder, std::span<const std::string> extra_names);

/// Removes committed checkpoints beyond the `keep` last saved (0 keeps all), `newest_step` and what `best` names never.
/// Their folders are renamed to a temporary name first, so that none is ever seen in part. A link to a checkpoint is
/// left alone. Returns the names of the removed; what could not be removed, or holds what no save wrote, is added to
/// `warnings`.
std::vector<std::string> remove_old(const std::filesystem::path& folder, int64_t newest_step, int64_t keep,
                                    std::span<const std::string> extra_names, std::vector<std::string>& warnings);

}  // namespace triptych::checkpoint
