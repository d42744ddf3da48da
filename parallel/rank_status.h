#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::parallel {

/// What a rank says that it does ("step 12"), for those who miss it. Lies in memory that the ranks of a machine share,
/// zero at first; a reader that comes while it is written sees a mixture of two texts, and no more than that.
class RankStatus {
 public:
  /// Keeps the first 95 bytes.
  void set(std::string_view text);
  std::string text() const;

 private:
  static constexpr std::size_t kWords = 12;
  std::array<std::atomic<uint64_t>, kWords> words_{};  // the text, and zeros behind it
};

/// How a process of this machine fares, by /proc: "is stopped by a signal", "waits for a disk or the network", "runs or
/// sleeps", "has ended".
std::string process_state(int process);

}  // namespace triptych::parallel
