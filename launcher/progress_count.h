#pragma once

#include <cstdint>
#include <string>

#include <unistd.h>

#include "base/console.h"

namespace triptych::launcher {

/// "1000 samples" on one line of a terminal's stderr that counts up; nothing elsewhere.
class ProgressCount {
 public:
  explicit ProgressCount(std::string what) : what_(std::move(what)), on_terminal_(::isatty(STDERR_FILENO) == 1) {}
  ~ProgressCount() { end(); }
  ProgressCount(const ProgressCount&) = delete;
  ProgressCount& operator=(const ProgressCount&) = delete;

  void show(uint64_t count) {
    constexpr uint64_t kEvery = 1000;
    if (!on_terminal_ || count / kEvery == shown_ / kEvery) return;
    print_progress(fmt::format("\r{} {}", count, what_));
    shown_ = count;
  }
  /// The line is done; what is printed next begins a new one.
  void end() {
    if (shown_ != 0) print_progress("\n");
    shown_ = 0;
  }

 private:
  std::string what_;
  bool on_terminal_;
  uint64_t shown_ = 0;
};

}  // namespace triptych::launcher
