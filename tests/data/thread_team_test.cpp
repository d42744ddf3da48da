#include "data/thread_team.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <latch>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sanitizer.h"

namespace triptych::test {
namespace {

TEST(ThreadTeam, RunsWhatIsPostedOnSoManyThreads) {
  std::latch all(3);  // opens only if three run at once
  ThreadTeam team(3);
  for (int i = 0; i < 3; ++i) team.post([&] { all.arrive_and_wait(); });
  all.wait();
}

TEST(ThreadTeam, WaitsForWhatRuns) {
  std::atomic<bool> has_ended = false;
  std::latch started(1);
  ThreadTeam team(2);
  team.post([&] {
    started.count_down();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    has_ended = true;
  });
  started.wait();
  team.end();
  EXPECT_TRUE(has_ended);
}

#if !TRIPTYCH_ADDRESS_SANITIZER  // its shadow does not fit into a limit
// In a process of its own, whose address space ends after a few threads' stacks: 0 if that is told, 1 if all start.
[[noreturn]] void start_a_thousand_threads() {
  ::alarm(20);       // what hangs is killed
  rlim_t pages = 0;  // that this process has now
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{200} << 20);
  const rlimit limit{.rlim_cur = bytes, .rlim_max = bytes};
  ::setrlimit(RLIMIT_AS, &limit);
  try {
    ThreadTeam team(1000);
    std::_Exit(1);
  } catch (const WorldError& error) {
    const std::string says = error.what();
    std::_Exit(says.find("must start 1000 threads, it started ") != std::string::npos ? 0 : 2);
  }
}

TEST(ThreadTeam, IsAnErrorWhereTheSystemStartsOnlySome) {
  EXPECT_EXIT(start_a_thousand_threads(), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace triptych::test
