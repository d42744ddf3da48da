#include "launcher/stop_signals.h"

#include <array>
#include <atomic>
#include <csignal>
#include <system_error>
#include <thread>

#include "base/error.h"

namespace triptych::launcher {
namespace {

constexpr std::array kTaken{SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

std::atomic<bool> keeps_first{false};
std::atomic<int> first_signal{0};

// Those of the signals that nobody has told the process to ignore.
sigset_t taken_signals() {
  sigset_t taken;
  sigemptyset(&taken);
  for (const int number : kTaken) {
    struct sigaction action {};
    sigaction(number, nullptr, &action);
    if (action.sa_handler != SIG_IGN) sigaddset(&taken, number);
  }
  return taken;
}

void wait_for_signals(const sigset_t& taken) {
  while (true) {
    int number = 0;
    if (sigwait(&taken, &number) != 0) continue;
    int none = 0;
    if (keeps_first && first_signal.compare_exchange_strong(none, number)) continue;
    // What it would have done had nobody taken it: this thread alone lets it in.
    std::signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &taken, nullptr);
    std::raise(number);
  }
}

}  // namespace

void take_stop_signals() {
  const sigset_t taken = taken_signals();
  pthread_sigmask(SIG_BLOCK, &taken, nullptr);
  try {
    std::thread waiting(wait_for_signals, taken);
    pthread_setname_np(waiting.native_handle(), "signals");
    waiting.detach();  // it waits until the process ends
  } catch (const std::system_error& error) {
    throw WorldError("signals", fmt::format("the system must start a thread that waits for signals, it did not: {}. "
                                            "Raise the limits on processes and on memory (`ulimit -u`, `ulimit -v`)",
                                            error.what()));
  }
}

void keep_stop_signals() {
  keeps_first = true;
}

int kept_stop_signal() {
  return first_signal;
}

}  // namespace triptych::launcher
