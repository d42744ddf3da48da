#include "emulator/nccl/rank_processes.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace triptych::emulator {
namespace {

constexpr const char* kRank = "TRIPTYCH_TEST_RANK";
constexpr const char* kCall = "TRIPTYCH_TEST_CALL";  // which run_processes of the test, from 0
constexpr const char* kId = "TRIPTYCH_TEST_ID";      // in hexadecimal

std::string test_name() {
  const ::testing::TestInfo& info = *::testing::UnitTest::GetInstance()->current_test_info();
  return fmt::format("{}.{}", info.test_suite_name(), info.name());
}

// Of the test that runs now.
int next_call() {
  static std::string test;
  static int num_calls = 0;
  if (test != test_name()) num_calls = 0;
  test = test_name();
  return num_calls++;
}

std::string to_hex(const ncclUniqueId& id) {
  std::string text;
  for (const char c : id.internal) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

ncclUniqueId from_hex(const std::string& text) {
  ncclUniqueId id{};
  for (std::size_t i = 0; i < sizeof id.internal; ++i) {
    id.internal[i] = static_cast<char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return id;
}

pid_t start(int rank, int call, const ncclUniqueId& id, const RankOptions& options, const std::string& output_path) {
  std::map<std::string, std::string> environment = options.environment;
  environment[kRank] = std::to_string(rank);
  environment[kCall] = std::to_string(call);
  environment[kId] = to_hex(id);
  std::vector<std::string> texts;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (environment.count(text.substr(0, text.find('='))) == 0) texts.push_back(text);
  }
  for (const auto& [name, value] : environment) texts.push_back(name + "=" + value);
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);

  std::string program = "/proc/self/exe", filter = "--gtest_filter=" + test_name();
  std::vector<char*> arguments{program.data(), filter.data(), nullptr};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  pid_t process = -1;
  const int error = posix_spawn(&process, program.c_str(), &actions, nullptr, arguments.data(), pointers.data());
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(error, 0) << "posix_spawn: " << std::strerror(error);
  return process;
}

RankResult finish(pid_t process, const std::string& output_path) {
  int status = 0;
  EXPECT_EQ(waitpid(process, &status, 0), process);
  RankResult result;
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  std::ostringstream output;
  output << std::ifstream(output_path).rdbuf();
  result.output = output.str();
  unlink(output_path.c_str());
  return result;
}

}  // namespace

std::vector<RankResult> run_processes(int size, const std::function<void(int rank, const ncclUniqueId& id)>& body,
                                      const RankOptions& options) {
  const int call = next_call();
  if (const char* const rank = std::getenv(kRank)) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that is stopped leaves nothing behind
    if (std::atoi(std::getenv(kCall)) != call) return std::vector<RankResult>(static_cast<std::size_t>(size));
    body(std::atoi(rank), from_hex(std::getenv(kId)));
    std::fflush(nullptr);
    std::exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ncclUniqueId id;
  TRIPTYCH_EXPECT_NCCL(ncclGetUniqueId(&id));
  std::vector<pid_t> processes;
  const auto path = [](int rank) { return fmt::format("{}triptych-rank-{}-{}", ::testing::TempDir(), getpid(), rank); };
  for (int rank = 0; rank < size; ++rank) processes.push_back(start(rank, call, id, options, path(rank)));
  std::vector<RankResult> results;
  for (int rank = 0; rank < size; ++rank) {
    results.push_back(finish(processes[static_cast<std::size_t>(rank)], path(rank)));
  }
  return results;
}

void on_ranks(int size, const std::function<void(int rank, const ncclUniqueId& id)>& body, const RankOptions& options) {
  const std::vector<RankResult> results = run_processes(size, body, options);
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    EXPECT_EQ(results[rank].exit_code, 0) << "rank " << rank << " of " << size << " printed:\n" << results[rank].output;
  }
}

TEST(RankProcesses, TellHowEachOfThemEnded) {
  const std::vector<RankResult> results = run_processes(4, [](int rank, const ncclUniqueId&) {
    std::printf("this is process %d\n", rank);
    std::fflush(stdout);
    if (rank == 1) std::raise(SIGKILL);
    if (rank == 2) std::_Exit(86);
    EXPECT_NE(rank, 3);
  });
  const std::vector<int> expected{0, 128 + SIGKILL, 86, 1};
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    EXPECT_EQ(results[rank].exit_code, expected[rank]) << results[rank].output;
    EXPECT_NE(results[rank].output.find("this is process " + std::to_string(rank)), std::string::npos);
  }
}

std::string all_output(const std::vector<RankResult>& results) {
  std::string text;
  for (const RankResult& result : results) text += result.output;
  return text;
}

}  // namespace triptych::emulator
