#include "parallel/rank_status.h"

#include <csignal>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace triptych::test {
namespace {

TEST(RankStatus, KeepsTheLastText) {
  RankStatus status;
  EXPECT_EQ(status.text(), "");
  status.set("saving step 12");
  status.set("step 13");
  EXPECT_EQ(status.text(), "step 13");
}

TEST(RankStatus, CutsWhatIsTooLong) {
  RankStatus status;
  const std::string most(95, 'a');
  status.set(most + "bc");
  EXPECT_EQ(status.text(), most);
}

TEST(ProcessState, TellsWhatAChildDoes) {
  EXPECT_EQ(process_state(getpid()), "runs or sleeps");
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (;;) pause();
  }
  ASSERT_EQ(kill(child, SIGSTOP), 0);
  ASSERT_EQ(waitpid(child, nullptr, WUNTRACED), child);
  EXPECT_EQ(process_state(child), "is stopped by a signal");
  ASSERT_EQ(kill(child, SIGKILL), 0);
  // Dead, and not collected yet.
  siginfo_t info{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(process_state(child), "has ended");
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(process_state(child), "has ended");
}

}  // namespace
}  // namespace triptych::test
