#include "training/run_lock.h"

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "data/scratch_folder.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

class Lock : public ::testing::TestWithParam<LockMethod> {
 protected:
  std::string refusal() {
    try {
      const RunLock lock(folder_ / "run", GetParam());
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }
  /// A process that takes the lock and then waits to be killed.
  pid_t start_holder() {
    int ready[2];
    if (::pipe(ready) != 0) throw std::runtime_error("pipe");
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        const RunLock lock(folder_ / "run", GetParam());
        (void)!::write(ready[1], "x", 1);
        while (true) ::pause();
      } catch (...) {
      }
      ::_exit(1);
    }
    ::close(ready[1]);
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "the child has the lock";
    ::close(ready[0]);
    return child;
  }
  void kill(pid_t child) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  std::string text() { return read_text_file(folder_ / "run/run.lock", 4096); }

  ScratchFolder folder_;
};

TEST_P(Lock, IsGivenToOneAtATimeAndLeavesNothing) {
  {
    const RunLock lock(folder_ / "run", GetParam());
    EXPECT_EQ(lock.note(), "");
    const std::string says = refusal();
    EXPECT_NE(says.find(fmt::format("process {} on ", ::getpid())), std::string::npos) << says;
    EXPECT_NE(says.find("another run.dir"), std::string::npos) << says;
  }
  EXPECT_FALSE(fs::exists(folder_ / "run")) << "it made the folder, and nothing was written there";
  fs::create_directory(folder_ / "run");
  { const RunLock lock(folder_ / "run", GetParam()); }
  EXPECT_TRUE(fs::is_empty(folder_ / "run")) << "a folder that was there stays";
}

TEST_P(Lock, OfAKilledProcessIsTakenOverAtOnceAndToldOfALivingOneIsNot) {
  const pid_t child = start_holder();
  EXPECT_NE(refusal().find(fmt::format("process {} on ", child)), std::string::npos) << refusal();
  ::kill(child, SIGSTOP);  // one that stands still lives
  EXPECT_NE(refusal(), "");
  kill(child);
  const RunLock lock(folder_ / "run", GetParam());
  EXPECT_NE(lock.note().find("ended without saying so"), std::string::npos) << lock.note();
  EXPECT_NE(text().find(fmt::format("\"pid\":{}", ::getpid())), std::string::npos) << text();
}

TEST_P(Lock, OfAnotherMachineIsNotTakenAndTheRemedyIsSaid) {
  kill(start_holder());
  std::string lock = text();
  const std::size_t host = lock.find("\"host\":\"") + 8;
  lock.replace(host, lock.find('"', host) - host, "another-machine");
  write_file_atomically(folder_ / "run/run.lock", lock);
  const std::string says = refusal();
  EXPECT_NE(says.find("another-machine"), std::string::npos) << says;
  EXPECT_NE(says.find("remove this file"), std::string::npos) << says;
  EXPECT_EQ(text(), lock);
}

TEST_P(Lock, KnowsAProcessFromALaterOneWithItsNumber) {
  kill(start_holder());
  // As if this very process's number had been the dead one's.
  std::string lock = text();
  const std::size_t pid = lock.find("\"pid\":") + 6;
  lock.replace(pid, lock.find(',', pid) - pid, fmt::format("{}", ::getpid()));
  write_file_atomically(folder_ / "run/run.lock", lock);
  EXPECT_EQ(refusal(), "") << "the start's time differs";
}

TEST_P(Lock, OfAnotherRunIsNotRemovedWhereOnesOwnWas) {
  auto first = std::make_unique<RunLock>(folder_ / "run", GetParam());
  fs::remove(folder_ / "run/run.lock");  // by somebody who took the run for dead
  const RunLock second(folder_ / "run", GetParam());
  first.reset();
  EXPECT_NE(refusal(), "") << "the second run is still at work";
}

TEST_P(Lock, ThatIsNoLockIsLeftAlone) {
  fs::create_directory(folder_ / "run");
  write_file_atomically(folder_ / "run/run.lock", "somebody's notes");
  EXPECT_NE(refusal().find("must be the lock of a run"), std::string::npos);
  EXPECT_EQ(text(), "somebody's notes");
}

INSTANTIATE_TEST_SUITE_P(Methods, Lock, ::testing::Values(LockMethod::kAutomatic, LockMethod::kByFileAlone),
                         [](const auto& param) { return param.param == LockMethod::kAutomatic ? "flock" : "file"; });

TEST(LockRace, OfManyThatFindADeadOnesLockOneGetsIt) {
  for (const LockMethod method : {LockMethod::kAutomatic, LockMethod::kByFileAlone}) {
    const ScratchFolder folder;
    const fs::path run = folder / "run";
    for (int round = 0; round < 20; ++round) {
      if (const pid_t dead = ::fork(); dead == 0) {
        ::_exit(std::make_unique<RunLock>(run, method).release() == nullptr);  // never released
      } else {
        ::waitpid(dead, nullptr, 0);
      }
      int go[2], done[2];
      ASSERT_EQ(::pipe(go), 0);
      ASSERT_EQ(::pipe(done), 0);
      constexpr int kStarters = 8;
      std::vector<pid_t> children;
      for (int i = 0; i < kStarters; ++i) {
        children.push_back(::fork());
        if (children.back() != 0) continue;
        char byte = 0;
        ::close(go[1]);
        (void)!::read(go[0], &byte, 1);  // all at once, when the other end is closed
        ::close(done[1]);
        try {
          const RunLock lock(run, method);
          (void)!::read(done[0], &byte, 1);  // held until all have tried
          ::_exit(0);
        } catch (const UserError&) {
          ::_exit(2);
        } catch (...) {
          ::_exit(1);
        }
      }
      ::close(go[0]);
      ::close(done[0]);
      ::close(go[1]);
      int losers = 0, winners = 0, status = 0;
      while (losers < kStarters - 1 && ::waitpid(-1, &status, 0) > 0) {
        ASSERT_TRUE(WIFEXITED(status));
        ASSERT_EQ(WEXITSTATUS(status), 2) << "round " << round;
        ++losers;
      }
      ::close(done[1]);
      while (::waitpid(-1, &status, 0) > 0) winners += WIFEXITED(status) && WEXITSTATUS(status) == 0;
      ASSERT_EQ(winners, 1) << "round " << round;
      fs::remove_all(run);
    }
  }
}

}  // namespace
}  // namespace triptych::test
