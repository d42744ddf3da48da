#include "parallel/progress.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "parallel/peer_error.h"

namespace triptych::parallel {
namespace {

using namespace std::chrono_literals;

// After spinning a rank yields this often, for peers that are about to come, and then sleeps: a sleeper is put back on
// a core as soon as it is rung, one that yields only when those before it have had their turns.
constexpr int kNumYields = 1;
// A source that nobody rings for is polled between naps that grow with their number (not with the time waited: on a
// busy machine a single yield takes milliseconds), so that a long wait costs little.
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

std::string Flight::to_string() const {
  return fmt::format("number {}, {} in {}", operation_.sequence, operation_.to_string(), identity_->where());
}

void Flight::check_alive(const Doorbell& bell, int rank) const {
  const int process = bell.process.load();
  if (process == 0 || kill(process, 0) == 0 || errno != ESRCH) return;
  throw PeerError(identity().where(),
                  fmt::format("number {}, {}, waits for {}, whose process {} has died. Look at what it printed last",
                              operation().sequence, operation().to_string(), identity().rank_text(rank), process),
                  to_string());
}

bool Progress::poll() {
  options_.on_poll();
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
  struct Awaited {
    const Flight*& slot;
    Clock::duration& waited;
    Clock::time_point begin = Clock::now();
    ~Awaited() {
      slot = nullptr;
      waited += Clock::now() - begin;
    }
  } const until_return{awaited_, waited_};
  awaited_ = &flight;
  wait_until_finished(flight);
}

void Progress::wait_until_finished(const Flight& flight) {
  const Clock::time_point begin = Clock::now();
  Clock::time_point next_check = begin + kLongestSleep;
  Clock::time_point spin_end = begin + options_.spin;
  const bool is_given_up = flight.begun() <= gave_up_at_;
  const Clock::duration longest = is_given_up ? Clock::duration::zero() : Clock::duration(options_.timeout);
  for (int num_idle = 0;;) {
    const bool moved = poll();
    if (flight.finished()) return;
    const Clock::time_point now = Clock::now();
    if (moved) {
      num_idle = 0;
      spin_end = now + options_.spin;
    }
    if (now < spin_end) {
      pause_core();
      continue;
    }
    if (num_idle++ < kNumYields) {
      sched_yield();
      continue;
    }
    if (now - begin >= longest) {
      gave_up_at_ = now;
      const std::string missing = flight.missing();
      throw PeerError(
          flight.identity().where(),
          fmt::format("a peer must come within {} s: number {}, {}, waited {:.1f} s{}. Look at what the other ranks "
                      "printed last",
                      std::chrono::duration<double>(options_.timeout).count(), flight.operation().sequence,
                      flight.operation().to_string(), std::chrono::duration<double>(now - begin).count(),
                      missing.empty() ? "" : "; missing: " + missing),
          flight.to_string());
    }
    if (now >= next_check) {
      flight.check_peers_alive();
      if (const std::string why = options_.why_in_vain(); !why.empty()) {
        gave_up_at_ = now;
        throw PeerError(flight.identity().where(),
                        fmt::format("every machine must answer: {}. This rank waited for number {}, {}", why,
                                    flight.operation().sequence, flight.operation().to_string()),
                        flight.to_string());
      }
      next_check = now + kLongestSleep;
    }
    sleep(num_idle - kNumYields, longest - (now - begin));
  }
}

void Progress::sleep(int num_naps, std::chrono::nanoseconds longest) {
  std::chrono::nanoseconds duration = kLongestSleep;
  if (options_.doorbell == nullptr || needs_polling()) {
    duration = std::min<std::chrono::nanoseconds>(kShortestNap * (1 + num_naps / 4), kLongestNap);
  }
  const timespec limit = to_timespec(std::min(duration, longest));
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

}  // namespace triptych::parallel
