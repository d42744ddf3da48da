#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "emulator/device_memory.h"
#include "emulator/interval_set.h"

namespace triptych::emulator::ptx {

/// Which bytes of a page of device memory were touched, and by which instruction at last (by 64 bytes).
struct AccessPage {
  static constexpr std::size_t kBytes = 1024, kWords = kBytes / 64;
  using Bits = std::array<uint64_t, kWords>;
  using Pcs = std::array<uint32_t, kWords>;
  uint64_t number = 0;
  Bits reads{}, writes{}, atomics{};
  Bits strong_reads{};  ///< `volatile`, `relaxed`, `acquire`: these race with plain writes only
  Pcs read_pcs{}, write_pcs{};
};

/// By block, how many of its segments are known to lie before.
using BlockClock = std::vector<uint32_t>;

/// What all blocks of a launch did in global memory, to find `block-race`: bytes that one block writes and another
/// reads or writes, unless both do so atomically or an order is established.
///
/// Order: a block's accesses are cut into segments. A fence closes the segment. A global atomic releases itself and
/// what has been fenced to its address; what has been released there is acquired at the block's next fence or barrier.
/// That is the protocol of "the last block to finish adds up": write, __threadfence, atomic counter, barrier, read. It
/// is kept by block: a fence by any thread counts for what all threads of the block did before it.
class LaunchAccesses {
 public:
  LaunchAccesses(DeviceMemory& memory, uint32_t num_blocks, std::string kernel,
                 std::function<std::string(uint32_t)> describe_line);

  /// The bytes that all blocks that have finished touched.
  IntervalSet reads() const;
  IntervalSet writes() const;

 private:
  friend class BlockAccesses;

  struct Segment {
    uint32_t block = 0, index = 0;
    std::shared_ptr<const BlockClock> known;  // null: nothing
    std::vector<std::unique_ptr<AccessPage>> pages;
  };
  struct History {
    AccessPage finished;                                            // by segments that nothing can be ordered after
    std::array<uint32_t, AccessPage::kWords> readers{}, writers{};  // blocks, of `finished`
    AccessPage::Bits all_reads{}, all_writes{};
    struct Released {
      uint32_t block = 0, segment = 0;
      std::unique_ptr<AccessPage> page;
    };
    std::vector<Released> released;
  };

  void publish(std::vector<Segment> segments, bool is_released);
  void add(const Segment& segment, std::unique_ptr<AccessPage> page, bool is_released);
  void check(const Segment& segment, const AccessPage& page, const History& history) const;
  void check_pair(const Segment& segment, const AccessPage& page, std::size_t word, const AccessPage& other,
                  uint32_t other_reader, uint32_t other_writer) const;
  IntervalSet collect(AccessPage::Bits History::*bits) const;

  DeviceMemory& memory_;
  uint32_t num_blocks_;
  std::string kernel_;
  std::function<std::string(uint32_t)> describe_line_;
  std::unordered_map<uint64_t, History> history_;         // by page number
  std::unordered_map<uint64_t, BlockClock> released_at_;  // by the address of an atomic
};

/// The accesses of one block while it runs.
class BlockAccesses {
 public:
  BlockAccesses(LaunchAccesses& launch, uint32_t block);

  void read(uint64_t address, std::size_t size, uint32_t pc);
  void write(uint64_t address, std::size_t size, uint32_t pc);
  void strong_read(uint64_t address, std::size_t size, uint32_t pc);
  void atomic(uint64_t address, std::size_t size, uint32_t pc);
  void fence();
  void barrier();
  void finish();

 private:
  void mark(AccessPage::Bits AccessPage::*bits, AccessPage::Pcs AccessPage::*pcs, uint64_t address, std::size_t size,
            uint32_t pc);
  AccessPage& page(uint64_t number);
  LaunchAccesses::Segment take_pages();
  void note_released(uint64_t address);
  void acquire();

  LaunchAccesses& launch_;
  const uint32_t block_;
  static constexpr std::size_t kCached = 64;
  std::array<AccessPage*, kCached> cache_{};                         // by the low bits of the page's number
  std::unordered_map<uint64_t, std::unique_ptr<AccessPage>> pages_;  // of the open segment
  std::vector<LaunchAccesses::Segment> unfenced_, fenced_;           // closed, but not released
  uint32_t num_released_ = 0;
  std::shared_ptr<const BlockClock> known_;
  BlockClock pending_;  // to be known from the next fence or barrier on
};

}  // namespace triptych::emulator::ptx
