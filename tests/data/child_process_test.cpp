#include "data/child_process.h"

#include <csignal>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "shard_support.h"

namespace triptych::test {
namespace {

std::string run(const std::function<std::string()>& work, ChildLimits limits = {}) {
  return run_in_child({"file.h5", "reading it", "the file is damaged."}, limits, work);
}

TEST(ChildProcess, PassesAnswersAndErrorsOn) {
  EXPECT_EQ(run([] { return std::string("a\0b", 3); }), std::string("a\0b", 3));
  EXPECT_EQ(run([] { return std::string(); }), "");
  EXPECT_EQ(run([] { return std::string(60000, 'x'); }), std::string(60000, 'x'));
  EXPECT_EQ(error_text(ErrorKind::kUser, [] { run([]() -> std::string { throw UserError("file.h5", "a rule."); }); }),
            "[file.h5] a rule.");
  EXPECT_EQ(error_text(ErrorKind::kWorld, [] { run([]() -> std::string { throw WorldError("file.h5", "a rule."); }); }),
            "[file.h5] a rule.");
}

TEST(ChildProcess, SurvivesWhatTheWorkDoes) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGKILL}) {
    expect_error(ErrorKind::kUser, "[file.h5] reading it crashed (signal " + std::to_string(signal), [&] {
      run([&]() -> std::string {
        ::signal(signal, SIG_DFL);
        ::raise(signal);
        return "no";
      });
    });
  }
  expect_error(ErrorKind::kUser, "ended without an answer (exit code 9)",
               [] { run([]() -> std::string { ::_exit(9); }); });
  ChildLimits quick;
  quick.wall_ms = 200;
  expect_error(ErrorKind::kUser, "was stopped, since", [&] {
    run(
        []() -> std::string {
          ::pause();
          return "no";
        },
        quick);
  });
  ChildLimits busy;
  busy.cpu_s = 1;
  expect_error(ErrorKind::kUser, "too much processor time", [&] {
    run(
        []() -> std::string {
          volatile bool forever = true;
          while (forever) {
          }
          return "no";
        },
        busy);
  });
  expect_error(ErrorKind::kUser, "was stopped, since", [] { run([] { return std::string(1000000, 'x'); }); });
}

TEST(ChildProcess, MemoryIsLimited) {
  ChildLimits small;
  small.memory_bytes = uint64_t{64} << 20;
  EXPECT_EQ(run([] { return std::to_string(std::string(32 << 20, 'x').size()); }, small), std::to_string(32 << 20));
  expect_error(ErrorKind::kUser, "[file.h5] reading it",
               [&] { run([] { return std::to_string(std::string(std::size_t{512} << 20, 'x').size()); }, small); });
}

}  // namespace
}  // namespace triptych::test
