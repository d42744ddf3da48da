#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>
#include <sys/types.h>

namespace triptych::launcher {

/// What starts ranks: `triptych-run-ranks`, which lies beside this program, in a build as where it is installed. Throws
/// WorldError, with the place `where`, if it does not.
std::filesystem::path rank_starter(std::string_view where);

/// This program on ranks, which prints one JSON object. What it prints on standard error comes through; it ends if this
/// process does.
class MeasuredRun {
 public:
  /// Starts it.
  ///   starter    what starts ranks, with what says how many: {"/usr/bin/triptych-run-ranks", "2"}
  ///   arguments  of this program
  ///   where      of a message: "bench scaling"
  ///   what       of a message: "the run on dp=2"
  MeasuredRun(const std::vector<std::string>& starter, const std::vector<std::string>& arguments, std::string where,
              std::string what);
  /// Ends it, if it was not waited for.
  ~MeasuredRun();
  MeasuredRun(const MeasuredRun&) = delete;
  MeasuredRun& operator=(const MeasuredRun&) = delete;

  /// What it printed, once it has ended. Throws an error if it did not end well (UserError for exit code 2, else
  /// WorldError), or printed anything else. Once.
  nlohmann::json wait();

 private:
  int end();  // its status, as waitpid has it

  std::string where_, what_;
  int output_ = -1;  // a file in memory, which ends with this process
  pid_t child_ = -1;
};

}  // namespace triptych::launcher
