#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "emulator/runtime/vector_clock.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// When queued work runs. In every mode only the order that the program has asked for (stream order, event waits, host
/// synchronisation) is kept; the modes differ in everything else.
enum class StreamMode {
  deferred,     ///< what a synchronisation needs, transitively, and nothing else
  eager,        ///< at once, where the dependencies allow it
  random,       ///< any stream that can run, chosen by the seed
  others_first  ///< before what a synchronisation needs, everything that it does not need
};

/// One thing in a stream's order. Its clock is known when it is queued, since everything that can order it is older.
struct Point {
  std::size_t stream = 0;  ///< the stream's number
  uint64_t sequence = 0;   ///< within the stream, from 1
  uint64_t num_works = 0;  ///< how many works had been queued on any stream, this one included
  VectorClock clock;       ///< what is ordered before it, itself included
  std::string name;        ///< for diagnoses: "kernel saxpy on stream 2"
  bool allocates = false;  ///< begins the life of the memory that it touches
  bool frees = false;      ///< ends it
  std::atomic<bool> done = false;
  std::chrono::steady_clock::time_point reached_at;

  bool is_after(const Point& other) const { return clock.covers(other.stream, other.sequence); }
};
using PointPtr = std::shared_ptr<Point>;

/// The streams of a process and what is queued on them. Runs one work at a time, in the thread that asks for it,
/// without holding the lock; a work that waits for another process gives way. Thread-safe.
class StreamQueues {
 public:
  struct Settings {
    StreamMode mode = StreamMode::deferred;
    uint64_t seed = 0;
    /// Moves on what nobody demands: at once where a query asked, else once the host has called nothing for a while.
    bool worker = true;
  };
  /// Called with each work once it is done and before its successors run; the lock is not held. May throw.
  using Checker = std::function<void(const PointPtr&, const Work&)>;

  StreamQueues(const Settings& settings, Checker checker);
  ~StreamQueues();
  StreamQueues(const StreamQueues&) = delete;
  StreamQueues& operator=(const StreamQueues&) = delete;

  /// `blocking` streams and the device's null stream (`is_null`) wait for each other, as cudaStreamCreate says.
  std::size_t create(int device, bool blocking, bool is_null);
  /// Ends the worker; what the host demands still runs.
  void stop();

  /// What is queued still runs, at the end of the process at last.
  void destroy(std::size_t stream);

  PointPtr enqueue(std::size_t stream, std::unique_ptr<Work> work);
  /// The point after what is queued now (cudaEventRecord); `name` is for diagnoses.
  PointPtr record(std::size_t stream, const std::string& name = "event");
  /// What is queued from now on comes after `point` (cudaStreamWaitEvent).
  void wait(std::size_t stream, const PointPtr& point);

  /// Runs what `point` needs; afterwards the host, and so all that it queues later, is ordered after it.
  void finish(const PointPtr& point);
  void finish_stream(std::size_t stream);
  void finish_device(int device);
  /// Whether it is done; if not, lets the worker run what it needs. Runs nothing itself.
  bool query(const PointPtr& point);
  bool query_stream(std::size_t stream);

  /// Whether no work is queued anywhere that was queued after `point`: waiting for it leaves the device idle.
  bool is_newest(const Point& point) const;
  /// What has to be done until everything that is left is ordered after `point`.
  std::vector<PointPtr> unordered_pending(const Point& point) const;
  /// Runs works, as the worker would, until `enough` or nothing is queued: queued frees give memory back.
  void run_until(const std::function<bool()>& enough);
  /// Runs all that is queued, except what waits for a process that is gone, and what comes after it.
  void run_rest();

 private:
  struct Item {
    std::unique_ptr<Work> work;   // none: a record or a wait
    std::vector<PointPtr> after;  // of other streams, not done when it was queued
    PointPtr point;
  };
  struct Stream {
    int device = 0;
    bool blocking = true, is_null = false, destroyed = false;
    bool busy = false;  // its first item is running
    std::deque<Item> items;
    VectorClock clock;
    PointPtr last;
    uint64_t sequence = 0;
  };
  using Lock = std::unique_lock<std::mutex>;
  using Clock = std::chrono::steady_clock;
  using Needed = std::map<std::size_t, uint64_t>;  // stream -> the last sequence number that is needed

  /// How long a thread sleeps before it asks a work that waits for another process again.
  static constexpr std::chrono::microseconds kRetryDelay{200};

  PointPtr append(std::size_t stream, std::unique_ptr<Work> work, const std::string& name,
                  const std::vector<PointPtr>& after);
  void order_with_null_stream(std::size_t stream, std::vector<PointPtr>& after) const;
  void finish(Lock& lock, const PointPtr& point);
  /// The stream whose first item has to run next for `point`.
  std::size_t first_needed(const Point& point) const;
  Needed needed_for(const Point& point) const;
  static bool can_run(const Stream& stream);
  bool has_items() const;
  uint64_t next_random();
  std::vector<std::size_t> runnable(const Needed* except) const;
  bool run_first(Lock& lock, std::size_t stream);
  bool execute(const Item& item);
  bool runs_once_all_others_have(const Item& item);
  /// Runs one work out of `streams`, in the seed's order; false if none got done.
  bool run_one_of(Lock& lock, std::vector<std::size_t> streams);
  /// Reaches the records and waits that lie before the next works.
  void settle();
  void rethrow_from_worker();
  void note_host_activity();
  void work_in_background();

  const Settings settings_;
  const Checker checker_;
  mutable std::mutex mutex_;
  std::condition_variable progress_;  // something got done, or was queued or asked for
  std::map<std::size_t, Stream> streams_;
  std::size_t num_streams_ = 0;
  uint64_t num_works_ = 0;
  uint64_t random_state_;
  VectorClock host_clock_;
  bool executing_ = false;  // one work at a time

  std::deque<PointPtr> queried_;  // what the host has asked for without waiting: the worker's
  Clock::time_point last_host_activity_;
  std::chrono::microseconds worker_delay_;
  bool stopping_ = false;
  std::exception_ptr failure_;  // a Violation in the worker's thread, for the next call of the host
  std::thread worker_;
};

}  // namespace triptych::emulator
