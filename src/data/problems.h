#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// What is wrong with a data set's samples or lines: the first 20 in words, the rest as a number, so that a user can
/// mend them together.
class Problems {
 public:
  void add(std::string problem);
  uint64_t count() const { return count_; }
  bool empty() const { return count_ == 0; }
  /// "3 problems:\n  ...\n  ...", with "and 5 more" at the end if there were more than 20.
  std::string text() const;

 private:
  uint64_t count_ = 0;
  std::vector<std::string> first_;
};

}  // namespace triptych::data
