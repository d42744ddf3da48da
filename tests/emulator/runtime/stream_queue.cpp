#include "emulator/runtime/stream_queue.h"

#include <algorithm>
#include <utility>

namespace triptych::emulator {

StreamQueues::StreamQueues(const Settings& settings, Checker checker)
    : settings_(settings),
      checker_(std::move(checker)),
      random_state_(settings.seed),
      last_host_activity_(Clock::now()),
      worker_delay_(settings.mode == StreamMode::eager ? 0 : 5000 + next_random() % 10000) {
  if (settings_.worker) worker_ = std::thread([this] { work_in_background(); });
}

StreamQueues::~StreamQueues() {
  stop();
}

void StreamQueues::stop() {
  {
    Lock lock(mutex_);
    stopping_ = true;
  }
  progress_.notify_all();
  if (!worker_.joinable()) return;
  // A violation that the worker finds ends the process from the worker's own thread.
  if (worker_.get_id() == std::this_thread::get_id())
    worker_.detach();
  else
    worker_.join();
}

std::size_t StreamQueues::create(int device, bool blocking, bool is_null) {
  Lock lock(mutex_);
  Stream& stream = streams_[num_streams_];
  stream.device = device;
  stream.blocking = blocking;
  stream.is_null = is_null;
  return num_streams_++;
}

void StreamQueues::destroy(std::size_t stream) {
  Lock lock(mutex_);
  streams_.at(stream).destroyed = true;
  settle();
}

void StreamQueues::order_with_null_stream(std::size_t id, std::vector<PointPtr>& after) const {
  const Stream& stream = streams_.at(id);
  if (!stream.blocking) return;
  for (const auto& [other_id, other] : streams_) {
    if (other_id == id || other.device != stream.device || !other.blocking || !other.last) continue;
    if (stream.is_null || other.is_null) after.push_back(other.last);
  }
}

PointPtr StreamQueues::append(std::size_t id, std::unique_ptr<Work> work, const std::string& name,
                              const std::vector<PointPtr>& after) {
  rethrow_from_worker();
  note_host_activity();
  Stream& stream = streams_.at(id);
  Item item;
  item.point = std::make_shared<Point>();
  Point& point = *item.point;
  point.stream = id;
  point.sequence = ++stream.sequence;
  point.name = name + (stream.is_null ? " on the null stream" : " on stream " + std::to_string(id));
  if (work) ++num_works_;
  point.num_works = num_works_;
  point.clock = stream.clock;
  point.clock.join(host_clock_);
  std::vector<PointPtr> dependencies = after;
  order_with_null_stream(id, dependencies);
  for (const PointPtr& dependency : dependencies) {
    point.clock.join(dependency->clock);
    if (!dependency->done && dependency->stream != id) item.after.push_back(dependency);
  }
  point.clock.advance(id, point.sequence);
  stream.clock = point.clock;
  stream.last = item.point;
  item.work = std::move(work);
  PointPtr result = item.point;
  stream.items.push_back(std::move(item));
  settle();
  progress_.notify_all();
  return result;
}

PointPtr StreamQueues::enqueue(std::size_t stream, std::unique_ptr<Work> work) {
  Lock lock(mutex_);
  const std::string name = work->name();
  PointPtr point = append(stream, std::move(work), name, {});
  if (settings_.mode == StreamMode::eager)
    while (run_one_of(lock, runnable(nullptr))) continue;
  return point;
}

PointPtr StreamQueues::record(std::size_t stream, const std::string& name) {
  Lock lock(mutex_);
  return append(stream, nullptr, name, {});
}

void StreamQueues::wait(std::size_t stream, const PointPtr& point) {
  Lock lock(mutex_);
  append(stream, nullptr, "wait", {point});
}

void StreamQueues::finish(const PointPtr& point) {
  Lock lock(mutex_);
  finish(lock, point);
}

void StreamQueues::finish(Lock& lock, const PointPtr& point) {
  rethrow_from_worker();
  note_host_activity();
  Needed needed;
  if (settings_.mode == StreamMode::others_first) needed = needed_for(*point);
  while (!point->done) {
    bool ran = false;
    if (settings_.mode == StreamMode::random) {
      ran = run_one_of(lock, runnable(nullptr));
    } else {
      if (settings_.mode == StreamMode::others_first) ran = run_one_of(lock, runnable(&needed));
      if (!ran && !point->done) ran = run_one_of(lock, {first_needed(*point)});
    }
    // Not when stalled: it may be another stream's work that the other process waits for, and the worker has to see to
    // it.
    if (ran)
      note_host_activity();
    else if (!point->done)
      progress_.wait_for(lock, kRetryDelay);
    rethrow_from_worker();
  }
  host_clock_.join(point->clock);
}

void StreamQueues::finish_stream(std::size_t stream) {
  Lock lock(mutex_);
  rethrow_from_worker();
  const PointPtr last = streams_.at(stream).last;
  if (last) finish(lock, last);
}

void StreamQueues::finish_device(int device) {
  Lock lock(mutex_);
  rethrow_from_worker();
  std::vector<PointPtr> lasts;
  for (const auto& [id, stream] : streams_)
    if (stream.device == device && stream.last) lasts.push_back(stream.last);
  for (const PointPtr& last : lasts) finish(lock, last);
}

bool StreamQueues::query(const PointPtr& point) {
  Lock lock(mutex_);
  rethrow_from_worker();
  if (point->done) {
    host_clock_.join(point->clock);
    return true;
  }
  if (std::find(queried_.begin(), queried_.end(), point) == queried_.end()) queried_.push_back(point);
  progress_.notify_all();
  return false;
}

bool StreamQueues::query_stream(std::size_t stream) {
  PointPtr last;
  {
    Lock lock(mutex_);
    last = streams_.at(stream).last;
  }
  return !last || query(last);
}

bool StreamQueues::is_newest(const Point& point) const {
  Lock lock(mutex_);
  return point.num_works == num_works_;
}

std::vector<PointPtr> StreamQueues::unordered_pending(const Point& point) const {
  Lock lock(mutex_);
  std::vector<PointPtr> result;
  for (const auto& [id, stream] : streams_) {
    const auto last = std::find_if(stream.items.rbegin(), stream.items.rend(),
                                   [&](const Item& item) { return !item.point->is_after(point); });
    if (last != stream.items.rend()) result.push_back(last->point);
  }
  return result;
}

void StreamQueues::run_until(const std::function<bool()>& enough) {
  Lock lock(mutex_);
  rethrow_from_worker();
  while (!enough() && has_items()) {
    if (!run_one_of(lock, runnable(nullptr))) progress_.wait_for(lock, kRetryDelay);
    rethrow_from_worker();
  }
}

void StreamQueues::run_rest() {
  Lock lock(mutex_);
  for (;;) {
    const std::vector<std::size_t> ready = runnable(nullptr);
    // Asked before they run: what a process has left behind when it went is enough for some.
    const bool is_lost = std::all_of(ready.begin(), ready.end(), [this](std::size_t stream) {
      return streams_.at(stream).items.front().work->waits_in_vain();
    });
    if (run_one_of(lock, ready)) continue;
    if (is_lost) return;
    progress_.wait_for(lock, kRetryDelay);
  }
}

}  // namespace triptych::emulator
