#include "emulator/runtime/copy_work.h"

#include <cstring>

#include <xxhash.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

std::vector<Access> rows_as_accesses(const CopySide& side, std::size_t row_bytes, std::size_t num_rows, bool writes) {
  if (side.pitch == row_bytes) return {{side.address, side.address + row_bytes * num_rows, writes}};
  std::vector<Access> result;
  for (std::size_t i = 0; i < num_rows; ++i) {
    const uint64_t begin = side.address + i * side.pitch;
    result.push_back({begin, begin + row_bytes, writes});
  }
  return result;
}

}  // namespace

const char* CopyWork::kind(const CopySide& to, const CopySide& from) {
  if (from.memory) return to.memory ? "device to device" : "device to host";
  return to.memory ? "host to device" : "host to host";
}

CopyWork::CopyWork(const CopySide& to, const CopySide& from, std::size_t row_bytes, std::size_t num_rows,
                   HostMemory& host)
    : to_(to), from_(from), row_bytes_(row_bytes), num_rows_(num_rows), host_(host) {
  name_ = "copy " + std::string(kind(to, from)) + " of " + std::to_string(row_bytes * num_rows) + " bytes";
  if (!from_.memory) prepare_host_source();
  if (!to_.memory) prepare_host_target();
}

CopyWork::~CopyWork() {
  if (reads_page_locked_) host_.end_copy(from_.address, end(from_), false);
  if (writes_page_locked_) host_.end_copy(to_.address, end(to_), true);
}

uint64_t CopyWork::end(const CopySide& side) const {
  return side.address + side.pitch * (num_rows_ - 1) + row_bytes_;
}

bool CopyWork::is_page_locked(const CopySide& side) const {
  const HostMemory::Range range = host_.find(side.address);
  if (range.begin == range.end) return false;
  if (!range.contains(side.address, end(side)))
    report("out-of-bounds", name_ + " goes over the end of page-locked memory of " +
                                std::to_string(range.end - range.begin) + " bytes: it touches bytes " +
                                std::to_string(side.address - range.begin) + " to " +
                                std::to_string(end(side) - range.begin) + " of it.");
  return true;
}

void CopyWork::prepare_host_source() {
  reads_page_locked_ = is_page_locked(from_);
  if (!reads_page_locked_) {
    staged_.resize(row_bytes_ * num_rows_);
    for (std::size_t i = 0; i < num_rows_; ++i) std::memcpy(staged_.data() + i * row_bytes_, row(from_, i), row_bytes_);
    from_.address = reinterpret_cast<uint64_t>(staged_.data());
    from_.pitch = row_bytes_;
    return;
  }
  // Where queued work is still going to write to the source, it changes with good reason.
  checks_source_ = !host_.is_being_written(from_.address, end(from_));
  if (checks_source_) checksum_ = source_checksum();
  host_.begin_copy(from_.address, end(from_), false);
}

void CopyWork::prepare_host_target() {
  writes_page_locked_ = is_page_locked(to_);
  if (!writes_page_locked_) return;
  checks_target_ = !host_.is_being_read(to_.address, end(to_)) && !host_.is_being_written(to_.address, end(to_));
  if (checks_target_)
    for (std::size_t i = 0; i < num_rows_; ++i) fill_with_poison(row(to_, i), row_bytes_);
  host_.begin_copy(to_.address, end(to_), true);
}

std::byte* CopyWork::row(const CopySide& side, std::size_t index) const {
  return reinterpret_cast<std::byte*>(side.address + index * side.pitch);
}

uint64_t CopyWork::source_checksum() const {
  uint64_t sum = 0;
  for (std::size_t i = 0; i < num_rows_; ++i) sum = XXH64(row(from_, i), row_bytes_, sum);
  return sum;
}

bool CopyWork::target_is_poison() const {
  for (std::size_t i = 0; i < num_rows_; ++i)
    if (!is_poison(row(to_, i), row_bytes_)) return false;
  return true;
}

bool CopyWork::advance() {
  if (checks_source_ && source_checksum() != checksum_)
    report("pinned-reused-early", name_ +
                                      ": the host has changed the page-locked source after the copy was queued and "
                                      "before it has run. Wait for an event that is recorded after the copy.");
  if (checks_target_ && !target_is_poison())
    report("pinned-reused-early", name_ +
                                      ": the host has written to the page-locked target after the copy was queued and "
                                      "before it has run. Wait for an event that is recorded after the copy.");
  checks_source_ = checks_target_ = false;
  for (std::size_t i = 0; i < num_rows_; ++i) {
    const uint64_t to = to_.address + i * to_.pitch, from = from_.address + i * from_.pitch;
    const char* who = name_.c_str();
    if (to_.memory && to_.memory == from_.memory) {
      to_.memory->copy(to, from, row_bytes_, who);
      continue;
    }
    const std::byte* source = from_.memory ? from_.memory->read(from, row_bytes_, who) : row(from_, i);
    std::byte* target = to_.memory ? to_.memory->write(to, row_bytes_, who) : row(to_, i);
    std::memcpy(target, source, row_bytes_);
  }
  return true;
}

std::vector<Access> CopyWork::accesses() const {
  std::vector<Access> result;
  if (from_.memory || reads_page_locked_) result = rows_as_accesses(from_, row_bytes_, num_rows_, false);
  if (to_.memory || writes_page_locked_)
    for (const Access& access : rows_as_accesses(to_, row_bytes_, num_rows_, true)) result.push_back(access);
  return result;
}

FillWork::FillWork(const CopySide& to, int value, std::size_t row_bytes, std::size_t num_rows)
    : to_(to),
      value_(value),
      row_bytes_(row_bytes),
      num_rows_(num_rows),
      name_("memset of " + std::to_string(row_bytes * num_rows) + " bytes") {}

bool FillWork::advance() {
  for (std::size_t i = 0; i < num_rows_; ++i) {
    const uint64_t to = to_.address + i * to_.pitch;
    void* const target = to_.memory ? to_.memory->write(to, row_bytes_, name_.c_str()) : reinterpret_cast<void*>(to);
    std::memset(target, value_, row_bytes_);
  }
  return true;
}

std::vector<Access> FillWork::accesses() const {
  return rows_as_accesses(to_, row_bytes_, num_rows_, true);
}

}  // namespace triptych::emulator
