#pragma once

#include <cstddef>
#include <string>

namespace triptych::emulator {

/// POSIX shared memory that whoever comes first creates. Its name goes away when all have mapped it, or with the first
/// who gives up before that.
class Segment {
 public:
  Segment(const std::string& name, std::size_t bytes);
  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  std::byte* data() const { return data_; }
  void unlink();

 private:
  std::string name_;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  bool linked_ = true;
};

}  // namespace triptych::emulator
