#include "data/parallel_for.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace triptych::data {

void parallel_for(int threads, uint64_t count, const std::function<void(uint64_t)>& work) {
  std::atomic<uint64_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto run = [&] {
    for (uint64_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        next = count;
        const std::lock_guard lock(mutex);
        if (!failure) failure = std::current_exception();
      }
    }
  };
  {
    const uint64_t helpers = std::min(static_cast<uint64_t>(std::max(threads, 1)), count);
    std::vector<std::jthread> others;
    try {
      for (uint64_t i = 1; i < helpers; ++i) others.emplace_back(run);
    } catch (const std::system_error&) {  // no more threads are to be had
    }
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

int num_processors() {
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 64u));
}

}  // namespace triptych::data
