// What StreamQueues runs next, and how: the part behind the calls of the host.

#include <algorithm>
#include <optional>
#include <utility>

#include "emulator/runtime/stream_queue.h"
#include "emulator/violation.h"

namespace triptych::emulator {

uint64_t StreamQueues::next_random() {  // SplitMix64
  uint64_t z = random_state_ += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

bool StreamQueues::can_run(const Stream& stream) {
  if (stream.items.empty() || stream.busy) return false;
  const std::vector<PointPtr>& after = stream.items.front().after;
  return std::all_of(after.begin(), after.end(), [](const PointPtr& point) { return point->done.load(); });
}

bool StreamQueues::has_items() const {
  return std::any_of(streams_.begin(), streams_.end(), [](const auto& entry) { return !entry.second.items.empty(); });
}

std::vector<std::size_t> StreamQueues::runnable(const Needed* except) const {
  std::vector<std::size_t> result;
  for (const auto& [id, stream] : streams_) {
    if (!can_run(stream)) continue;
    if (except) {
      const auto needed = except->find(id);
      if (needed != except->end() && stream.items.front().point->sequence <= needed->second) continue;
    }
    result.push_back(id);
  }
  return result;
}

std::size_t StreamQueues::first_needed(const Point& point) const {
  std::size_t id = point.stream;
  while (true) {
    const std::vector<PointPtr>& after = streams_.at(id).items.front().after;
    const auto waits =
        std::find_if(after.begin(), after.end(), [](const PointPtr& other) { return !other->done.load(); });
    if (waits == after.end()) return id;
    id = (*waits)->stream;
  }
}

StreamQueues::Needed StreamQueues::needed_for(const Point& point) const {
  Needed needed;
  std::vector<const Point*> open{&point};
  while (!open.empty()) {
    const Point* target = open.back();
    open.pop_back();
    uint64_t& known = needed[target->stream];
    if (known >= target->sequence || target->done) continue;
    for (const Item& item : streams_.at(target->stream).items) {
      if (item.point->sequence <= known) continue;
      if (item.point->sequence > target->sequence) break;
      for (const PointPtr& other : item.after) open.push_back(other.get());
    }
    known = target->sequence;
  }
  return needed;
}

bool StreamQueues::run_one_of(Lock& lock, std::vector<std::size_t> streams) {
  while (!streams.empty()) {
    const std::size_t index = streams.size() == 1 ? 0 : next_random() % streams.size();
    const std::size_t id = streams[index];
    streams.erase(streams.begin() + static_cast<std::ptrdiff_t>(index));
    if (executing_) return false;
    // Another thread may have been at it while this one ran something that stalled.
    const auto stream = streams_.find(id);
    if (stream != streams_.end() && can_run(stream->second) && run_first(lock, id)) return true;
  }
  return false;
}

bool StreamQueues::run_first(Lock& lock, std::size_t id) {
  Stream& stream = streams_.at(id);  // stays where it is while it has items
  Item& item = stream.items.front();
  executing_ = stream.busy = true;
  lock.unlock();
  bool done = true;
  std::exception_ptr failure;
  try {
    done = execute(item);
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  executing_ = stream.busy = false;
  if (done) {
    item.point->done = true;
    item.point->reached_at = Clock::now();
    stream.items.pop_front();
    settle();
  }
  progress_.notify_all();
  if (failure) std::rethrow_exception(failure);
  return done;
}

bool StreamQueues::execute(const Item& item) {
  std::optional<Violation> violation;
  try {
    const CatchViolations caught;
    if (!item.work->advance()) return false;
  } catch (const Violation& thrown) {
    violation = thrown;
  }
  if (violation) {
    const bool may_be_early = violation->name == "uninitialised-read" && item.work->can_run_again();
    if (!may_be_early || !runs_once_all_others_have(item)) report(violation->name, violation->message);
  }
  checker_(item.point, *item.work);
  return true;
}

/// Whether it is only that the work came before something that nothing orders before it: then the checker finds what.
bool StreamQueues::runs_once_all_others_have(const Item& item) {
  const CatchViolations caught;
  Lock lock(mutex_);
  executing_ = false;
  try {
    while (run_one_of(lock, runnable(nullptr))) continue;
  } catch (const Violation&) {  // the first fault is the one to report
  }
  progress_.wait(lock, [this] { return !executing_; });
  executing_ = true;
  lock.unlock();
  try {
    return item.work->advance();
  } catch (const Violation&) {
    return false;
  }
}

void StreamQueues::settle() {
  bool changed = true;
  while (std::exchange(changed, false)) {
    for (auto& [id, stream] : streams_) {
      while (can_run(stream) && !stream.items.front().work) {
        Point& point = *stream.items.front().point;
        point.done = true;
        point.reached_at = Clock::now();
        stream.items.pop_front();
        changed = true;
      }
    }
  }
  std::erase_if(streams_, [](const auto& entry) { return entry.second.destroyed && entry.second.items.empty(); });
}

void StreamQueues::rethrow_from_worker() {
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void StreamQueues::note_host_activity() {
  last_host_activity_ = Clock::now();
}

void StreamQueues::work_in_background() {
  Lock lock(mutex_);
  while (!stopping_) {
    std::erase_if(queried_, [](const PointPtr& point) { return point->done.load(); });
    if (!has_items()) {
      progress_.wait(lock);
      continue;
    }
    bool ran = false;
    try {
      if (!queried_.empty()) {
        ran = run_one_of(lock, {first_needed(*queried_.front())});
        if (ran) note_host_activity();
      }
      if (!ran && Clock::now() - last_host_activity_ >= worker_delay_) ran = run_one_of(lock, runnable(nullptr));
    } catch (...) {
      failure_ = std::current_exception();
      ran = true;
    }
    if (!ran && !stopping_) {
      const bool rests = Clock::now() - last_host_activity_ < worker_delay_ && queried_.empty();
      progress_.wait_for(lock, rests ? worker_delay_ : kRetryDelay);
    }
  }
}

}  // namespace triptych::emulator
