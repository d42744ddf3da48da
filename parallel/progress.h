#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "parallel/group.h"

namespace triptych::parallel {

/// Where a rank sleeps and how its peers on the same machine wake it; lies in memory that they share.
struct alignas(128) Doorbell {
  std::atomic<uint32_t> rings{0};
  std::atomic<uint32_t> sleeping{0};
  std::atomic<int32_t> process{0};  ///< 0 if not another process

  /// Called after something was published, with sequentially consistent stores, that the owner may be waiting for.
  void ring();
};

/// An operation in flight that advances when it is polled. Failures are kept and thrown to whoever waits for it.
class Flight : public Pending {
 public:
  Flight(std::shared_ptr<class Progress> progress, std::shared_ptr<const GroupIdentity> identity,
         const Operation& operation);
  bool test() final;
  void wait() final;

  bool finished() const { return done_ || failure_ != nullptr; }
  std::chrono::steady_clock::time_point begun() const { return begun_; }
  const Operation& operation() const { return operation_; }
  const GroupIdentity& identity() const { return *identity_; }
  void complete() {
    done_ = true;
    done_at_ = std::chrono::steady_clock::now();
  }
  /// Of one that is done: when that was, which whoever waits may learn much later.
  std::chrono::steady_clock::time_point done_at() const { return done_at_; }
  void fail(std::exception_ptr failure) { failure_ = std::move(failure); }
  void rethrow_failure() const {
    if (failure_) std::rethrow_exception(failure_);
  }
  /// Who has not come yet, for a message; empty if nobody knows.
  virtual std::string missing() const { return {}; }
  /// "number 20, all_reduce(sum, float32 x 7) in group dp".
  std::string to_string() const;
  /// Throws PeerError if a rank that it waits for is known to be dead.
  virtual void check_peers_alive() const {}

 protected:
  /// Throws PeerError if the process that has this doorbell, a rank for which this one waits, has died.
  void check_alive(const Doorbell& bell, int rank) const;

 private:
  std::shared_ptr<Progress> progress_;
  std::shared_ptr<const GroupIdentity> identity_;
  Operation operation_;
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  bool done_ = false;
  std::chrono::steady_clock::time_point done_at_ = {};
  std::exception_ptr failure_;
};

/// Moves along all that one rank has in flight, and waits. Used by one thread at a time.
class Progress {
 public:
  /// A set of flights that advance together.
  class Source {
   public:
    virtual ~Source() = default;
    /// Moves what can be moved; true if something did.
    virtual bool advance() = 0;
    virtual bool idle() const = 0;
    /// True if a peer rings the doorbell when there is more to do; else the source must be polled.
    virtual bool rings() const = 0;
  };

  struct Options {
    std::chrono::milliseconds timeout{600'000};
    /// How long a waiting rank polls before it gives its core away: a little if every rank has a core of its own.
    std::chrono::microseconds spin{0};
    Doorbell* doorbell = nullptr;  ///< this rank's; nullptr if no source rings
    std::function<void()> on_poll = [] {};
    /// Why it is no use to wait any more, "hostb has acknowledged nothing for 16 s"; empty if it is. Asked now and
    /// then.
    std::function<std::string()> why_in_vain = [] { return std::string(); };
  };

  explicit Progress(const Options& options) : options_(options) {}
  void add(Source* source) { sources_.push_back(source); }
  void remove(Source* source) { std::erase(sources_, source); }
  bool poll();
  std::chrono::milliseconds timeout() const { return options_.timeout; }
  /// Returns when the flight is done; throws its failure, or PeerError after the time-out. Whatever had begun when a
  /// wait ended so is not waited for again: its results, which are given up one by one on the way out, would take as
  /// long each.
  void wait(const Flight& flight);
  /// Seconds that all calls of wait() took together.
  double waited_s() const { return std::chrono::duration<double>(waited_).count(); }
  /// What wait() waits for; empty outside of it.
  std::string awaited() const { return awaited_ == nullptr ? "" : awaited_->to_string(); }

 private:
  using Clock = std::chrono::steady_clock;
  void wait_until_finished(const Flight& flight);
  void sleep(int num_naps, std::chrono::nanoseconds longest);
  bool needs_polling() const;

  Options options_;
  std::vector<Source*> sources_;
  const Flight* awaited_ = nullptr;
  Clock::duration waited_{0};
  Clock::time_point gave_up_at_ = Clock::time_point::min();
};

}  // namespace triptych::parallel
