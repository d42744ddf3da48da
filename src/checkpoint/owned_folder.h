#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "base/rooms.h"

// Removing what saves wrote, and nothing else. A folder is ours by its contents, not by its name: it is a real folder,
// not a link, and holds nothing but
//   - manifest.json, if it begins as one of this format,
//   - rank_NNNNN.safetensors,
//   - the other files that this manifest lists, or that the caller names (`extra_names`: those that saves of this run
//     put beside the tensors, for a folder whose manifest is not written yet or damaged),
//   - empty folders.

namespace triptych::checkpoint {

/// "" if the folder is ours; else what it is or holds instead, as the end of a sentence: "is a link", "holds notes.txt,
/// which no save wrote".
std::string foreign_content(const std::filesystem::path& folder, std::span<const std::string> extra_names);

/// Removes a folder that is ours, the manifest last, so that what a kill leaves of it is still known as ours. Throws
/// WorldError if it is not ours, or cannot be removed.
void remove_owned(const std::filesystem::path& folder, std::span<const std::string> extra_names);

/// True if `file` is a regular file that is empty (or zeros, after a power cut) or names a step, as `latest` does.
bool is_latest_of_ours(const std::filesystem::path& file);

/// Gives what stands in the way another name beside it, `NAME.aside`, `NAME.aside2`, ...; replaces nothing. NAME is
/// `name`, or its own where that is empty. Returns the sentence that tells it. Throws WorldError if that cannot be
/// done.
std::string set_aside(const std::filesystem::path& path, const std::string& name = "");

}  // namespace triptych::checkpoint
