#include "launcher/stop_signals.h"

#include <array>
#include <atomic>
#include <csignal>

namespace triptych::launcher {
namespace {

constexpr std::array kCaught{SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

// A handler reaches nothing but what is static, and runs on whichever thread the system chooses.
std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free);

void set_handler(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;  // what the run waits for in system calls goes on
  sigaction(number, &action, nullptr);
}

void keep_first(int number) {
  int none = 0;
  if (first_signal.compare_exchange_strong(none, number)) return;
  set_handler(number, SIG_DFL);
  raise(number);  // delivered when this returns
}

}  // namespace

void catch_stop_signals() {
  for (const int number : kCaught) {
    struct sigaction old {};
    sigaction(number, nullptr, &old);
    if (old.sa_handler == SIG_DFL) set_handler(number, keep_first);
  }
}

int arrived_stop_signal() {
  return first_signal;
}

}  // namespace triptych::launcher
