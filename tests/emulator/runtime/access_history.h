#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "emulator/runtime/stream_queue.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// Which piece of work wrote each byte last, and which have read it since. Two accesses to one byte of which one writes
/// must be ordered by streams, events or the host, whichever of them happened to run first. Thread-safe.
class AccessHistory {
 public:
  struct Conflict {
    PointPtr earlier;  ///< the one that ran before
    Access access;     ///< of the later one, cut to the bytes that both touch
    bool earlier_wrote = false;
  };
  /// Adds what `point` touched, and returns the first of it that conflicts.
  std::optional<Conflict> add(const PointPtr& point, std::span<const Access> accesses);
  /// The memory goes back: what happened to it is nobody's concern any more.
  void forget(uint64_t begin, uint64_t end);

 private:
  struct Segment {
    uint64_t end = 0;
    PointPtr writer;
    std::vector<PointPtr> readers;  // since it was written; the last one of each stream
  };
  using Segments = std::map<uint64_t, Segment>;  // by begin, disjoint

  Segments::iterator split(uint64_t address);
  std::optional<Conflict> find_conflict(const Point& point, const Access& access) const;
  void add_write(const PointPtr& point, const Access& access);
  void add_read(const PointPtr& point, const Access& access);
  void merge(uint64_t begin, uint64_t end);

  std::mutex mutex_;
  Segments segments_;
};

}  // namespace triptych::emulator
