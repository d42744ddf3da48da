#include "emulator/runtime/access_history.h"

#include <algorithm>

namespace triptych::emulator {

std::optional<AccessHistory::Conflict> AccessHistory::add(const PointPtr& point, std::span<const Access> accesses) {
  std::lock_guard lock(mutex_);
  std::optional<Conflict> conflict;
  for (const Access& access : accesses) {
    if (access.begin >= access.end) continue;
    if (!conflict) conflict = find_conflict(*point, access);
    if (access.writes)
      add_write(point, access);
    else
      add_read(point, access);
  }
  return conflict;
}

void AccessHistory::forget(uint64_t begin, uint64_t end) {
  std::lock_guard lock(mutex_);
  const auto last = split(end);
  segments_.erase(split(begin), last);
}

std::optional<AccessHistory::Conflict> AccessHistory::find_conflict(const Point& point, const Access& access) const {
  auto segment = segments_.upper_bound(access.begin);
  if (segment != segments_.begin()) --segment;
  for (; segment != segments_.end() && segment->first < access.end; ++segment) {
    const auto& [begin, is] = *segment;
    if (is.end <= access.begin) continue;
    const Access cut{std::max(begin, access.begin), std::min(is.end, access.end), access.writes};
    if (is.writer && (is.writer->frees || !point.is_after(*is.writer))) return Conflict{is.writer, cut, true};
    if (!access.writes) continue;
    for (const PointPtr& reader : is.readers)
      if (!point.is_after(*reader)) return Conflict{reader, cut, false};
  }
  return std::nullopt;
}

/// The first segment that begins at or after `address`, once none reaches over it.
AccessHistory::Segments::iterator AccessHistory::split(uint64_t address) {
  const auto next = segments_.lower_bound(address);
  if (next == segments_.begin()) return next;
  const auto before = std::prev(next);
  if (before->second.end <= address) return next;
  Segment tail = before->second;
  before->second.end = address;
  return segments_.emplace_hint(next, address, std::move(tail));
}

void AccessHistory::add_write(const PointPtr& point, const Access& access) {
  const auto last = split(access.end);
  segments_.erase(split(access.begin), last);
  segments_[access.begin] = Segment{access.end, point, {}};
  merge(access.begin, access.end);
}

void AccessHistory::add_read(const PointPtr& point, const Access& access) {
  split(access.end);
  auto segment = split(access.begin);
  uint64_t address = access.begin;
  while (address < access.end) {
    if (segment == segments_.end() || segment->first > address) {  // bytes that nothing has touched
      const uint64_t end = segment == segments_.end() ? access.end : std::min(access.end, segment->first);
      segment = segments_.emplace_hint(segment, address, Segment{end, nullptr, {}});
    }
    std::vector<PointPtr>& readers = segment->second.readers;
    const auto same = std::find_if(readers.begin(), readers.end(),
                                   [&](const PointPtr& reader) { return reader->stream == point->stream; });
    if (same == readers.end())
      readers.push_back(point);
    else
      *same = point;
    address = segment->second.end;
    ++segment;
  }
  merge(access.begin, access.end);
}

/// Joins neighbours that say the same, so that the map stays as small as the tensors are few.
void AccessHistory::merge(uint64_t begin, uint64_t end) {
  auto segment = segments_.lower_bound(begin);
  if (segment != segments_.begin()) --segment;
  while (segment != segments_.end()) {
    const auto next = std::next(segment);
    if (next == segments_.end() || next->first > end) return;
    Segment& left = segment->second;
    const Segment& right = next->second;
    if (left.end == next->first && left.writer == right.writer && left.readers == right.readers) {
      left.end = right.end;
      segments_.erase(next);
    } else {
      segment = next;
    }
  }
}

}  // namespace triptych::emulator
