#include "emulator/ptx/global_accesses.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include <fmt/format.h>

#include "emulator/violation.h"

namespace triptych::emulator::ptx {
namespace {

bool is_known(const std::shared_ptr<const BlockClock>& known, uint32_t block, uint32_t segment) {
  return known != nullptr && (*known)[block] > segment;
}

void join(BlockClock& clock, const BlockClock& other) {
  if (clock.empty()) clock.resize(other.size());
  for (std::size_t i = 0; i < other.size(); ++i) clock[i] = std::max(clock[i], other[i]);
}

}  // namespace

LaunchAccesses::LaunchAccesses(DeviceMemory& memory, uint32_t num_blocks, std::string kernel,
                               std::function<std::string(uint32_t)> describe_line)
    : memory_(memory), num_blocks_(num_blocks), kernel_(std::move(kernel)), describe_line_(std::move(describe_line)) {}

void LaunchAccesses::check_pair(const Segment& segment, const AccessPage& page, std::size_t word,
                                const AccessPage& other, uint32_t other_reader, uint32_t other_writer) const {
  const uint64_t other_touched =
      other.reads[word] | other.writes[word] | other.atomics[word] | other.strong_reads[word];
  const uint64_t read_conflict = page.reads[word] & (other.writes[word] | other.atomics[word]);
  const uint64_t write_conflict = page.writes[word] & other_touched;
  const uint64_t atomic_conflict = page.atomics[word] & (other.reads[word] | other.writes[word]);
  const uint64_t strong_conflict = page.strong_reads[word] & other.writes[word];
  const uint64_t conflict = read_conflict | write_conflict | atomic_conflict | strong_conflict;
  if (conflict == 0) return;

  const int bit = std::countr_zero(conflict);
  const uint64_t address = page.number * AccessPage::kBytes + word * 64 + static_cast<uint64_t>(bit);
  const bool this_writes = (((page.writes[word] | page.atomics[word]) >> bit) & 1) != 0;
  const bool other_writes = (((other.writes[word] | other.atomics[word]) >> bit) & 1) != 0;
  const DeviceMemory::Allocation allocation = memory_.find(address);
  const char* what =
      this_writes ? (other_writes ? "both write" : "one writes and the other reads") : "one reads and the other writes";
  report(
      "block-race",
      fmt::format("[{}] no byte of global memory may be written by one block and touched by another in one launch: "
                  "blocks {} (at {}) and {} (at {}) touch byte {} of {} ({} bytes), {}. Give each byte one block, or "
                  "order them by __threadfence and an atomic.",
                  kernel_, segment.block, describe_line_(this_writes ? page.write_pcs[word] : page.read_pcs[word]),
                  other_writes ? other_writer : other_reader,
                  describe_line_(other_writes ? other.write_pcs[word] : other.read_pcs[word]),
                  address - allocation.begin, allocation.what, allocation.size, what));
}

void LaunchAccesses::check(const Segment& segment, const AccessPage& page, const History& history) const {
  for (std::size_t word = 0; word < AccessPage::kWords; ++word) {
    check_pair(segment, page, word, history.finished, history.readers[word], history.writers[word]);
    for (const History::Released& other : history.released) {
      if (other.block == segment.block || is_known(segment.known, other.block, other.segment)) continue;
      check_pair(segment, page, word, *other.page, other.block, other.block);
    }
  }
}

void LaunchAccesses::publish(std::vector<Segment> segments, bool is_released) {
  for (const Segment& segment : segments) {  // all are checked before any is added: a block does not race with itself
    for (const auto& page : segment.pages) check(segment, *page, history_[page->number]);
  }
  for (Segment& segment : segments) {
    for (auto& page : segment.pages) add(segment, std::move(page), is_released);
  }
}

void LaunchAccesses::add(const Segment& segment, std::unique_ptr<AccessPage> page, bool is_released) {
  History& history = history_[page->number];
  for (std::size_t word = 0; word < AccessPage::kWords; ++word) {
    history.all_reads[word] |= page->reads[word] | page->strong_reads[word] | page->atomics[word];
    history.all_writes[word] |= page->writes[word] | page->atomics[word];
    if (is_released) continue;
    AccessPage& finished = history.finished;
    finished.reads[word] |= page->reads[word];
    finished.writes[word] |= page->writes[word];
    finished.atomics[word] |= page->atomics[word];
    finished.strong_reads[word] |= page->strong_reads[word];
    if ((page->reads[word] | page->strong_reads[word]) != 0) {
      history.readers[word] = segment.block;
      finished.read_pcs[word] = page->read_pcs[word];
    }
    if ((page->writes[word] | page->atomics[word]) != 0) {
      history.writers[word] = segment.block;
      finished.write_pcs[word] = page->write_pcs[word];
    }
  }
  if (is_released) history.released.push_back({segment.block, segment.index, std::move(page)});
}

IntervalSet LaunchAccesses::collect(AccessPage::Bits History::*bits) const {
  std::vector<std::pair<uint64_t, const AccessPage::Bits*>> pages;
  for (const auto& [number, history] : history_) pages.emplace_back(number, &(history.*bits));
  std::sort(pages.begin(), pages.end());
  IntervalSet set;
  uint64_t begin = 0, end = 0;  // of the run of bytes that is growing
  auto append = [&](uint64_t from, uint64_t to) {
    if (from != end) {
      set.add(begin, end);
      begin = from;
    }
    end = to;
  };
  for (const auto& [number, words] : pages) {
    for (std::size_t word = 0; word < AccessPage::kWords; ++word) {
      const uint64_t base = number * AccessPage::kBytes + word * 64;
      uint64_t rest = (*words)[word];
      for (int at = 0; rest != 0;) {
        const int gap = std::countr_zero(rest);
        const int length = std::countr_one(rest >> gap);
        append(base + static_cast<uint64_t>(at + gap), base + static_cast<uint64_t>(at + gap + length));
        at += gap + length;
        rest = gap + length == 64 ? 0 : rest >> (gap + length);
      }
    }
  }
  set.add(begin, end);
  return set;
}

IntervalSet LaunchAccesses::reads() const {
  return collect(&History::all_reads);
}
IntervalSet LaunchAccesses::writes() const {
  return collect(&History::all_writes);
}

BlockAccesses::BlockAccesses(LaunchAccesses& launch, uint32_t block) : launch_(launch), block_(block) {}

AccessPage& BlockAccesses::page(uint64_t number) {
  AccessPage*& cached = cache_[number % kCached];
  if (cached == nullptr || cached->number != number) {
    std::unique_ptr<AccessPage>& owned = pages_[number];
    if (owned == nullptr) {
      owned = std::make_unique<AccessPage>();
      owned->number = number;
    }
    cached = owned.get();
  }
  return *cached;
}

void BlockAccesses::mark(AccessPage::Bits AccessPage::*bits, AccessPage::Pcs AccessPage::*pcs, uint64_t address,
                         std::size_t size, uint32_t pc) {
  for (const uint64_t end = address + size; address < end;) {
    const uint64_t next = std::min(end, (address / 64 + 1) * 64), length = next - address;
    AccessPage& touched = page(address / AccessPage::kBytes);
    const std::size_t word = address / 64 % AccessPage::kWords;
    const uint64_t ones = length == 64 ? ~uint64_t{0} : (uint64_t{1} << length) - 1;
    (touched.*bits)[word] |= ones << (address % 64);
    (touched.*pcs)[word] = pc;
    address = next;
  }
}

void BlockAccesses::read(uint64_t address, std::size_t size, uint32_t pc) {
  mark(&AccessPage::reads, &AccessPage::read_pcs, address, size, pc);
}

void BlockAccesses::write(uint64_t address, std::size_t size, uint32_t pc) {
  mark(&AccessPage::writes, &AccessPage::write_pcs, address, size, pc);
}

void BlockAccesses::note_released(uint64_t address) {
  auto found = launch_.released_at_.find(address);
  if (found != launch_.released_at_.end()) join(pending_, found->second);
}

void BlockAccesses::strong_read(uint64_t address, std::size_t size, uint32_t pc) {
  note_released(address);
  mark(&AccessPage::strong_reads, &AccessPage::read_pcs, address, size, pc);
}

void BlockAccesses::atomic(uint64_t address, std::size_t size, uint32_t pc) {
  note_released(address);
  if (num_released_ == 0 && fenced_.empty()) {
    return mark(&AccessPage::atomics, &AccessPage::write_pcs, address, size, pc);
  }
  // What has been fenced is released, and so is the atomic itself: the block that acquires it may reset the counter.
  std::unordered_map<uint64_t, std::unique_ptr<AccessPage>> open;
  std::swap(open, pages_);
  cache_ = {};
  mark(&AccessPage::atomics, &AccessPage::write_pcs, address, size, pc);
  fenced_.push_back(take_pages());
  std::swap(open, pages_);
  for (LaunchAccesses::Segment& segment : fenced_) segment.index = num_released_++;
  launch_.publish(std::move(fenced_), true);
  fenced_.clear();
  BlockClock& clock = launch_.released_at_[address];
  if (known_ != nullptr) join(clock, *known_);
  clock.resize(launch_.num_blocks_);
  clock[block_] = std::max(clock[block_], num_released_);
}

LaunchAccesses::Segment BlockAccesses::take_pages() {
  LaunchAccesses::Segment segment{block_, 0, known_, {}};
  for (auto& [number, page] : pages_) segment.pages.push_back(std::move(page));
  pages_.clear();
  cache_ = {};
  return segment;
}

void BlockAccesses::acquire() {
  if (pending_.empty()) return;
  if (!pages_.empty()) unfenced_.push_back(take_pages());  // what follows knows more than what was
  if (known_ != nullptr) join(pending_, *known_);
  known_ = std::make_shared<const BlockClock>(std::move(pending_));
  pending_.clear();
}

void BlockAccesses::fence() {
  if (!pages_.empty()) unfenced_.push_back(take_pages());
  std::move(unfenced_.begin(), unfenced_.end(), std::back_inserter(fenced_));
  unfenced_.clear();
  acquire();
}

void BlockAccesses::barrier() {
  acquire();
}

void BlockAccesses::finish() {
  fence();
  launch_.publish(std::move(fenced_), false);
  fenced_.clear();
}

}  // namespace triptych::emulator::ptx
