#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/rooms.h"

namespace triptych::parallel {

/// Ends this process if what runs while the object lives takes longer than `limit`: for calls that wait for other ranks
/// and that nothing can interrupt, as MPI's own start and end. It says `[where] all ranks must ...` on standard error
/// and exits with 1 without unwinding, which lets the launcher that started the ranks end the others: rank N waits for
/// 0.2 N seconds more (2 at most), so that one alone speaks. Costs a thread.
class TimeLimit {
 public:
  ///   where   the error's place
  ///   what    what all ranks must have done by then: "have started MPI"
  TimeLimit(std::chrono::milliseconds limit, std::string where, std::string what);
  ~TimeLimit();
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool has_ended_ = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace triptych::parallel
