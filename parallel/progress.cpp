#include "parallel/progress.h"

#include <algorithm>
#include <ctime>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych {
namespace {

using namespace std::chrono_literals;

// After its spins a rank yields this often, for peers that are about to come, and then sleeps.
constexpr int kNumYields = 4;
// A source that nobody rings for is polled at times that grow with the time already waited, so that waiting costs
// little and the delay is at most an eighth of the wait.
constexpr auto kShortestNap = 20us;
constexpr auto kLongestNap = 500us;
// A sleeper that is rung for still looks up this often: for a dead peer and for the time-out.
constexpr auto kLongestSleep = 200ms;

timespec to_timespec(std::chrono::nanoseconds duration) {
  return {static_cast<time_t>(duration / 1s), static_cast<long>((duration % 1s).count())};
}

void pause_core() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

void Doorbell::ring() {
  if (sleeping.load() == 0) return;
  rings.fetch_add(1);
  syscall(SYS_futex, &rings, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

Flight::Flight(std::shared_ptr<Progress> progress, std::shared_ptr<const GroupIdentity> identity,
               const Operation& operation)
    : progress_(std::move(progress)), identity_(std::move(identity)), operation_(operation) {}

bool Flight::test() {
  if (!finished()) progress_->poll();
  rethrow_failure();
  return done_;
}

void Flight::wait() {
  if (!finished()) progress_->wait(*this);
  rethrow_failure();
}

bool Progress::poll() {
  bool moved = false;
  for (Source* source : sources_) {
    if (!source->idle() && source->advance()) moved = true;
  }
  return moved;
}

bool Progress::needs_polling() const {
  return std::any_of(sources_.begin(), sources_.end(), [](Source* s) { return !s->idle() && !s->rings(); });
}

void Progress::wait(const Flight& flight) {
  const Clock::time_point begin = Clock::now();
  Clock::time_point next_check = begin + kLongestSleep;
  for (int num_idle = 0;; ++num_idle) {
    if (poll()) num_idle = 0;
    if (flight.finished()) return;
    if (num_idle < options_.num_spins) {
      pause_core();
      continue;
    }
    if (num_idle < options_.num_spins + kNumYields) {
      sched_yield();
      continue;
    }
    const Clock::time_point now = Clock::now();
    if (now - begin >= options_.timeout) {
      const std::string missing = flight.missing();
      throw WorldError(
          flight.identity().where(),
          fmt::format("a peer must come within {} s: number {}, {}, waited {:.1f} s; {}. Look at what the other ranks "
                      "printed last",
                      std::chrono::duration<double>(options_.timeout).count(), flight.operation().sequence,
                      flight.operation().to_string(), std::chrono::duration<double>(now - begin).count(),
                      missing.empty() ? "which rank is missing is not known" : "missing: " + missing));
    }
    if (now >= next_check) {
      flight.check_peers_alive();
      next_check = now + kLongestSleep;
    }
    sleep(now - begin);
  }
}

void Progress::sleep(Clock::duration waited) {
  const auto left = std::chrono::nanoseconds(std::max<Clock::duration>(options_.timeout - waited, kShortestNap));
  std::chrono::nanoseconds duration = kLongestSleep;
  if (options_.doorbell == nullptr || needs_polling()) {
    duration = std::clamp<std::chrono::nanoseconds>(waited / 8, kShortestNap, kLongestNap);
  }
  const timespec limit = to_timespec(std::min(duration, left));
  if (options_.doorbell == nullptr) {
    nanosleep(&limit, nullptr);
    return;
  }
  // Whoever publishes something either sees `sleeping` and rings, or published before the poll below.
  Doorbell& bell = *options_.doorbell;
  const uint32_t rings = bell.rings.load();
  bell.sleeping.store(1);
  if (!poll()) syscall(SYS_futex, &bell.rings, FUTEX_WAIT, rings, &limit, nullptr, 0);
  bell.sleeping.store(0);
}

}  // namespace triptych
