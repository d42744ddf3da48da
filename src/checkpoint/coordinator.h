#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace triptych {

/// The ranks that save or load a checkpoint together. One operation serves as gather, broadcast and barrier:
/// `all_gather` gives every rank the strings of all ranks, by rank. Every rank calls it the same number of times.
struct Coordinator {
  int rank = 0;
  int size = 1;
  std::function<std::vector<std::string>(const std::string&)> all_gather;

  /// One rank on its own.
  static Coordinator alone() {
    return {0, 1, [](const std::string& text) { return std::vector<std::string>{text}; }};
  }
};

/// Runs `work` on every rank, then lets all know how it went. `work` returns a string; the result is those of all
/// ranks. If it threw on any, every rank throws an error of the same kind that names the first rank that failed, what
/// it was doing and its message, so no rank waits for another that has given up:
///   `[checkpoint] rank 2 of 4 could not write its shard: [runs/a/...] cannot ... (errno 28: No space left on device)`
/// Kinds: that of the first failing rank; an exception that is not one of ours counts as the world's. The remedy, a
/// sentence, ends the message of the world's errors.
std::vector<std::string> run_together(const Coordinator& coordinator, std::string_view doing,
                                      const std::function<std::string()>& work, std::string_view remedy = "");

}  // namespace triptych
