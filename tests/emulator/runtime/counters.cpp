#include "emulator/runtime/counters.h"

#include <memory>
#include <mutex>

namespace triptych::emulator {
namespace {

struct State {
  std::mutex mutex;
  Counts counts;
  std::map<std::string, uint64_t> executions;
  uint64_t window = 1;  // a new number whenever counting starts anew
  bool open = true;
  bool has_begun = false;  // by cudaProfilerStart
};

// Never destroyed: the process counts until its very end.
State& state() {
  static State& instance = *std::make_unique<State>().release();
  return instance;
}

}  // namespace

Counts counters() {
  std::lock_guard lock(state().mutex);
  return state().counts;
}

void reset_counters() {
  std::lock_guard lock(state().mutex);
  state().counts = Counts{};
  ++state().window;
}

uint64_t counting_window() {
  std::lock_guard lock(state().mutex);
  return state().open ? state().window : 0;
}

void count(uint64_t window, const std::function<void(Counts&)>& add) {
  std::lock_guard lock(state().mutex);
  if (window == state().window) add(state().counts);
}

void count_nccl(const std::string& communicator, const std::string& collective, uint64_t bytes) {
  count([&](Counts& counts) {
    counts.nccl_order.emplace_back(communicator, collective);
    ++counts.nccl[collective].calls;
    counts.nccl[collective].bytes += bytes;
  });
}

void begin_counted_window() {
  std::lock_guard lock(state().mutex);
  if (!state().has_begun) {
    state().counts = Counts{};
    ++state().window;
  }
  state().has_begun = state().open = true;
}

void end_counted_window() {
  std::lock_guard lock(state().mutex);
  state().open = false;
}

std::map<std::string, uint64_t> kernel_executions() {
  std::lock_guard lock(state().mutex);
  return state().executions;
}

void note_registered_kernel(const std::string& name) {
  std::lock_guard lock(state().mutex);
  state().executions.try_emplace(name, 0);
}

void note_kernel_execution(const std::string& name) {
  std::lock_guard lock(state().mutex);
  ++state().executions[name];
}

}  // namespace triptych::emulator
