#include "emulator/device_memory.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

// A byte's state. The two high bits are what the fast checks look at.
constexpr uint8_t kNeverAllocated = 0, kFreed = 1, kRedZone = 2;
constexpr uint8_t kAllocated = 0x80, kInitialised = 0x40;

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kRedZoneBytes = 256;
constexpr std::size_t kPage = 4096;
// Freed addresses rest until the cursor has gone through this many times the capacity.
constexpr std::size_t kReserveFactor = 4;
constexpr std::size_t kReserveExtra = std::size_t{64} << 20;

// 0x7FFB is a NaN as float16 and bfloat16, twice one as float32, and four times one as float64.
constexpr std::array<uint8_t, 2> kPoison{0xFB, 0x7F};
constexpr uint8_t kRedZonePattern = 0xA5;

std::size_t round_up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

void* reserve(std::size_t bytes, int protection) {
  void* p = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "[emulator] mmap of device memory");
  return p;
}

void fill_poison(std::byte* at, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) at[i] = std::byte{kPoison[i % 2]};
}

// Whether every byte of the shadow has all bits of `wanted`.
bool all_have(const uint8_t* shadow, std::size_t bytes, uint8_t wanted) {
  const uint64_t wanted8 = wanted * uint64_t{0x0101010101010101};
  uint64_t seen = ~uint64_t{0}, word = 0;
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    std::memcpy(&word, shadow + i, 8);
    seen &= word;
  }
  uint8_t tail = 0xFF;
  for (; i < bytes; ++i) tail &= shadow[i];
  return (seen & wanted8) == wanted8 && (tail & wanted) == wanted;
}

// ---- The host must not touch device memory: its addresses are reserved without access, and a fault there is named.

struct GuardedRange {
  std::atomic<uint64_t> begin{0}, end{0};
};
std::array<GuardedRange, 64> guarded_ranges;  // read by the signal handler: no locks, no allocation
struct sigaction previous_action;

void write_text(const char* text) {
  if (write(STDERR_FILENO, text, std::strlen(text)) < 0) _exit(1);
}

void on_segmentation_fault(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uint64_t>(info->si_addr);
  for (const GuardedRange& range : guarded_ranges) {
    if (address < range.begin || address >= range.end) continue;
    char hex[19] = "0x0000000000000000";
    for (int digit = 0; digit < 16; ++digit) hex[17 - digit] = "0123456789abcdef"[(address >> (4 * digit)) & 15];
    write_text("emulator: [host-touched-device-memory] the host read or wrote the device address ");
    write_text(hex);
    write_text(" directly. Copy with cudaMemcpyAsync, or pass the address to a kernel.\n");
    _exit(86);
  }
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    sigaction(SIGSEGV, &previous_action, nullptr);  // the instruction faults again, now with the default action
  }
}

void guard(uint64_t begin, uint64_t end) {
  static std::once_flag installed;
  std::call_once(installed, [] {
    struct sigaction action {};
    action.sa_sigaction = on_segmentation_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &previous_action);
  });
  for (GuardedRange& range : guarded_ranges) {
    uint64_t none = 0;
    if (range.begin.compare_exchange_strong(none, begin)) {  // taken, and still empty
      range.end = end;
      return;
    }
  }
  throw std::runtime_error("[emulator] at most 64 device memories may exist at once. Destroy one first.");
}

void unguard(uint64_t begin) {
  for (GuardedRange& range : guarded_ranges) {
    if (range.begin != begin) continue;
    range.end = 0;
    range.begin = 0;
  }
}

}  // namespace

struct DeviceMemory::Impl {
  struct Block {
    std::size_t size = 0;
    std::string what;
    bool alive = true;
  };
  mutable std::mutex mutex;
  std::size_t capacity = 0, used = 0, reserved = 0;
  uint64_t cursor = 0;               // where the next allocation is tried first
  std::map<uint64_t, Block> blocks;  // by address; a freed one stays until its addresses are handed out again

  // The first address from `from` on where `bytes` fit between blocks that are alive; 0 if there is none before `end`.
  uint64_t find_gap(uint64_t from, uint64_t end, std::size_t bytes) const {
    uint64_t at = round_up(from, kAlignment) + kRedZoneBytes;
    auto next = blocks.lower_bound(from);
    if (next != blocks.begin()) {
      const auto& [begin, block] = *std::prev(next);
      if (block.alive) at = std::max(at, round_up(begin + block.size, kAlignment) + kRedZoneBytes);
    }
    for (; next != blocks.end() && next->first < at + bytes + kRedZoneBytes + kAlignment; ++next) {
      if (!next->second.alive) continue;
      at = std::max(at, round_up(next->first + next->second.size, kAlignment) + kRedZoneBytes);
    }
    return at + bytes + kRedZoneBytes + kAlignment <= end ? at : 0;
  }
};

DeviceMemory::DeviceMemory(std::size_t capacity) : impl_(std::make_unique<Impl>()) {
  impl_->capacity = capacity;
  impl_->reserved = round_up(kReserveFactor * capacity + kReserveExtra, kPage);
  begin_ = reinterpret_cast<uint64_t>(reserve(impl_->reserved, PROT_NONE));
  end_ = begin_ + impl_->reserved;
  bytes_ = static_cast<std::byte*>(reserve(impl_->reserved, PROT_READ | PROT_WRITE));
  shadow_ = static_cast<uint8_t*>(reserve(impl_->reserved, PROT_READ | PROT_WRITE));
  impl_->cursor = begin_;
  guard(begin_, end_);
}

DeviceMemory::~DeviceMemory() {
  unguard(begin_);
  munmap(reinterpret_cast<void*>(begin_), impl_->reserved);
  munmap(bytes_, impl_->reserved);
  munmap(shadow_, impl_->reserved);
}

uint64_t DeviceMemory::allocate(std::size_t size, const std::string& what) {
  std::lock_guard lock(impl_->mutex);
  if (size > impl_->capacity - impl_->used) return 0;
  uint64_t at = impl_->find_gap(impl_->cursor, end_, size);
  if (at == 0) at = impl_->find_gap(begin_, end_, size);
  if (at == 0) return 0;

  const uint64_t tail = round_up(at + size, kAlignment) + kRedZoneBytes;  // the red zone after covers the padding
  auto& blocks = impl_->blocks;
  auto first = blocks.lower_bound(at - kRedZoneBytes);
  if (first != blocks.begin() && !std::prev(first)->second.alive &&
      std::prev(first)->first + std::prev(first)->second.size > at - kRedZoneBytes) {
    --first;
  }
  blocks.erase(first, blocks.lower_bound(tail));
  blocks[at] = {size, what, true};
  impl_->used += size;
  impl_->cursor = at + size;

  const uint64_t offset = at - begin_;
  std::memset(bytes_ + offset - kRedZoneBytes, kRedZonePattern, kRedZoneBytes);
  std::memset(shadow_ + offset - kRedZoneBytes, kRedZone, kRedZoneBytes);
  fill_poison(bytes_ + offset, size);
  std::memset(shadow_ + offset, kAllocated, size);
  std::memset(bytes_ + offset + size, kRedZonePattern, tail - at - size);
  std::memset(shadow_ + offset + size, kRedZone, tail - at - size);
  return at;
}

void DeviceMemory::free(uint64_t address) {
  std::lock_guard lock(impl_->mutex);
  auto found = impl_->blocks.find(address);
  if (found == impl_->blocks.end()) {
    report("bad-argument",
           fmt::format("[free] no allocation begins at {:#x}. Free what the allocation returned.", address));
  }
  Impl::Block& block = found->second;
  if (!block.alive) {
    report("double-free", fmt::format("[free] {} ({} bytes at {:#x}) has been freed before. Free it once.", block.what,
                                      block.size, address));
  }
  const uint64_t offset = address - begin_, tail = round_up(address + block.size, kAlignment) + kRedZoneBytes;
  auto damaged = [&](uint64_t from, uint64_t to) {
    for (uint64_t i = from; i < to; ++i) {
      if (bytes_[i] != std::byte{kRedZonePattern}) return true;
    }
    return false;
  };
  if (damaged(offset - kRedZoneBytes, offset) || damaged(offset + block.size, tail - begin_)) {
    report("red-zone-damaged", fmt::format("[free] the bytes around {} ({} bytes at {:#x}) have been overwritten.",
                                           block.what, block.size, address));
  }
  block.alive = false;
  impl_->used -= block.size;
  std::memset(shadow_ + offset, kFreed, block.size);
  const uint64_t page = round_up(offset, kPage), page_end = (offset + block.size) / kPage * kPage;
  if (page < page_end) madvise(bytes_ + page, page_end - page, MADV_DONTNEED);
}

std::size_t DeviceMemory::used_bytes() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->used;
}

std::size_t DeviceMemory::capacity() const {
  return impl_->capacity;
}

bool DeviceMemory::contains(uint64_t address) const {
  return address >= begin_ && address < end_;
}

DeviceMemory::Allocation DeviceMemory::find(uint64_t address) const {
  std::lock_guard lock(impl_->mutex);
  auto next = impl_->blocks.upper_bound(address);
  if (next == impl_->blocks.begin()) return {};
  const auto& [begin, block] = *std::prev(next);
  if (!block.alive || address >= begin + std::max<std::size_t>(block.size, 1)) return {};
  return {begin, block.size, block.what};
}

bool DeviceMemory::readable(uint64_t address, std::size_t size) const {
  if (address < begin_ || address > end_ || size > end_ - address) return false;
  return all_have(shadow_ + (address - begin_), size, kAllocated | kInitialised);
}

bool DeviceMemory::writable(uint64_t address, std::size_t size) const {
  if (address < begin_ || address > end_ || size > end_ - address) return false;
  return all_have(shadow_ + (address - begin_), size, kAllocated);
}

void DeviceMemory::mark_initialised(uint64_t address, std::size_t size) {
  std::memset(shadow_ + (address - begin_), kAllocated | kInitialised, size);
}

void DeviceMemory::mark_undefined(uint64_t address, std::size_t size) {
  std::memset(shadow_ + (address - begin_), kAllocated, size);
}

DeviceMemory::Fault DeviceMemory::fault(uint64_t address, std::size_t size, bool reads) const {
  if (!contains(address)) {
    return {"host-pointer-in-kernel", fmt::format("{:#x} is no device address. Pass memory of the device.", address)};
  }
  uint64_t bad = address;
  auto good = [&](uint64_t at) { return at < end_ && (reads ? readable(at, 1) : writable(at, 1)); };
  while (bad < address + size && good(bad)) ++bad;
  const uint8_t state = bad < end_ ? shadow_[bad - begin_] : kNeverAllocated;

  std::lock_guard lock(impl_->mutex);
  const auto& blocks = impl_->blocks;
  auto next = blocks.upper_bound(bad);
  std::string where = "no allocation is near";
  if (next != blocks.begin()) {
    const auto& [begin, block] = *std::prev(next);
    where = bad < begin + block.size ? fmt::format("byte {} of {} ({} bytes)", bad - begin, block.what, block.size)
                                     : fmt::format("{} bytes past the end of {} ({} bytes)", bad - begin - block.size,
                                                   block.what, block.size);
  }
  if (state == kRedZone && next != blocks.end() && next->first - bad <= kRedZoneBytes) {
    where += fmt::format(", {} bytes before {} ({} bytes)", next->first - bad, next->second.what, next->second.size);
  }
  const std::string text = fmt::format("{} bytes at {:#x}: {}", size, address, where);
  if (state == kFreed) return {"use-after-free", text + ", which has been freed. Free it after its last use."};
  if ((state & kAllocated) != 0) {
    return {"uninitialised-read", text + ", was never written. Write it first, or read less."};
  }
  return {"out-of-bounds", text + ". Stay inside of the allocation."};
}

const std::byte* DeviceMemory::read(uint64_t address, std::size_t size, const char* who) const {
  if (!readable(address, size)) {
    const Fault bad = fault(address, size, true);
    report(bad.name, fmt::format("[{}] reads {}", who, bad.message));
  }
  return bytes(address);
}

std::byte* DeviceMemory::write(uint64_t address, std::size_t size, const char* who) {
  if (!writable(address, size)) {
    const Fault bad = fault(address, size, false);
    report(bad.name, fmt::format("[{}] writes {}", who, bad.message));
  }
  mark_initialised(address, size);
  return bytes(address);
}

void DeviceMemory::copy(uint64_t to, uint64_t from, std::size_t size, const char* who) {
  for (uint64_t address : {from, to}) {
    if (writable(address, size)) continue;  // undefined bytes may be copied: they stay undefined
    const Fault bad = fault(address, size, false);
    report(bad.name, fmt::format("[{}] copies {} {}", who, address == from ? "from" : "to", bad.message));
  }
  std::memmove(bytes(to), bytes(from), size);
  std::memmove(shadow_ + (to - begin_), shadow_ + (from - begin_), size);
}

bool DeviceMemory::initialised(uint64_t address, std::size_t size) const {
  return readable(address, size);
}

}  // namespace triptych::emulator
