#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/error.h"

namespace triptych::data {

struct ChildLimits {
  int wall_ms = 60000;  ///< then it is killed
  unsigned cpu_s = 5;   ///< of processor time; asking a sound file takes milliseconds, some damaged ones never end
  uint64_t memory_bytes = uint64_t{1} << 30;   ///< of address space beyond what the parent has
  uint64_t answer_bytes = uint64_t{64} << 10;  ///< of what `work` returns
};

/// What to say if the child does not live to answer: `[where] <action> crashed (signal 11); <remedy>`.
struct ChildBlame {
  std::string where;
  std::string action;  ///< "reading it"
  std::string remedy;  ///< "the file is damaged. Write it again."
  ErrorKind kind = ErrorKind::kUser;
};

/// Runs `work` in a forked child and returns what it returned. An Error that `work` throws is thrown here. If the child
/// crashes, hangs or wants too much memory, an error of `blame.kind` says so: a library that does not survive hostile
/// input or a full disk is thus kept from taking the program along.
///
/// The child sees a copy of the parent's memory but of no other thread, so `work` must not wait for one.
std::string run_in_child(const ChildBlame& blame, const ChildLimits& limits, const std::function<std::string()>& work);

}  // namespace triptych::data
