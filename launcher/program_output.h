#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/ranks.h"

namespace triptych::launcher {

/// What a program prints on standard output until it ends, at most 16 MiB; its errors go where ours do. Throws
/// WorldError, with the place `where`, if it cannot be started or does not end well; UserError if it ends with that
/// exit code (2).
std::string program_output(std::string_view where, const std::filesystem::path& program,
                           std::vector<std::string> words);

/// What `triptych-paper`, which plans runs, prints. Throws as program_output, and UserError if it is not beside this
/// program; `remedy` says what to do without it: "leave the budget out".
std::string paper_output(std::string_view where, std::string_view remedy, std::vector<std::string> words);

/// A config as the words that another call of the program names it with.
void append_config(std::vector<std::string>& words, const ConfigArguments& arguments);

}  // namespace triptych::launcher
