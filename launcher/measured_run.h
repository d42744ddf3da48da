#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace triptych::launcher {

/// What starts ranks on this machine: `triptych-run-ranks`, which lies beside this program, in a build as where it is
/// installed. Throws WorldError if it does not.
std::filesystem::path rank_starter();

/// Runs this program with `arguments` on `num_ranks` ranks, and returns the JSON object that it prints, which is kept
/// in `file`. What it prints on standard error comes through; it ends if this process does.
///   what   of a message: "the run on dp=2"
/// Throws an error if it does not end well (UserError for exit code 2, else WorldError), or prints anything else.
nlohmann::json run_and_read(const std::filesystem::path& starter, int num_ranks,
                            const std::vector<std::string>& arguments, const std::filesystem::path& file,
                            const std::string& what);

}  // namespace triptych::launcher
