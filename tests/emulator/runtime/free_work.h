#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "emulator/runtime/stream_queue.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// The end of an allocation, in stream order. For the checks it touches all of the memory.
class FreeWork : public Work {
 public:
  FreeWork(std::string name, uint64_t begin, uint64_t end, std::function<void()> release)
      : name_(std::move(name)), begin_(begin), end_(end), release_(std::move(release)) {}
  std::string name() const override { return name_; }
  bool advance() override { return true; }
  std::vector<Access> accesses() const override { return {{begin_, end_, true}}; }
  uint64_t begin() const { return begin_; }
  uint64_t end() const { return end_; }
  const std::function<void()>& release() const { return release_; }

 private:
  std::string name_;
  uint64_t begin_, end_;
  std::function<void()> release_;  // gives the memory back
};

/// Memory that is freed, but that queued work which the free is not ordered with could still touch. It stays readable
/// until that work has run, so that the fault is found where it is: in the missing order.
class FreedMemory {
 public:
  void add(std::vector<PointPtr> until, const FreeWork& work);
  /// Gives back what nothing can touch any more; `forget` is told of each range.
  void release(const std::function<void(uint64_t begin, uint64_t end)>& forget);

 private:
  struct Entry {
    std::vector<PointPtr> until;
    uint64_t begin = 0, end = 0;
    std::function<void()> release;
  };
  std::mutex mutex_;
  std::vector<Entry> entries_;
};

}  // namespace triptych::emulator
