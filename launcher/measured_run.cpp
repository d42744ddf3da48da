#include "launcher/measured_run.h"

#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

namespace triptych::launcher {
namespace {

constexpr uint64_t kMostAnswerBytes = uint64_t{64} << 20;

std::filesystem::path this_program() {
  return std::filesystem::read_symlink("/proc/self/exe");
}

// In the child, between fork and exec: nothing that allocates.
[[noreturn]] void become(char* const* words, const char* output, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::signal(SIGPIPE, SIG_DFL);  // which this program ignores
  const int file = ::open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (::getppid() != parent || file < 0 || ::dup2(file, STDOUT_FILENO) < 0) ::_exit(1);
  ::execv(words[0], words);
  ::_exit(1);
}

}  // namespace

std::filesystem::path rank_starter() {
  const std::filesystem::path starter = this_program().parent_path() / "triptych-run-ranks";
  if (::access(starter.c_str(), X_OK) == 0) return starter;
  throw WorldError("bench scaling", fmt::format("what starts ranks must lie beside this program, {} cannot be run: {}. "
                                                "Build or install Triptych anew",
                                                starter.string(), describe_errno(errno)));
}

MeasuredRun::MeasuredRun(const std::filesystem::path& starter, int num_ranks, const std::vector<std::string>& arguments,
                         std::filesystem::path file, std::string what)
    : file_(std::move(file)), what_(std::move(what)) {
  std::vector<std::string> words{starter.string(), std::to_string(num_ranks), this_program().string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  child_ = ::fork();
  if (child_ == 0) become(pointers.data(), file_.c_str(), parent);
  if (child_ < 0) throw WorldError("bench scaling", fmt::format("{} cannot begin: {}", what_, describe_errno(errno)));
}

MeasuredRun::~MeasuredRun() {
  if (child_ < 0) return;
  ::kill(child_, SIGTERM);  // asks its ranks to stop
  end();
}

int MeasuredRun::end() {
  int status = 0;
  while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) continue;
  child_ = -1;
  return status;
}

nlohmann::json MeasuredRun::wait() {
  const int status = end();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    const std::string how = WIFEXITED(status) ? fmt::format("exit code {}", WEXITSTATUS(status))
                                              : fmt::format("signal {}", WTERMSIG(status));
    throw Error(WIFEXITED(status) && WEXITSTATUS(status) == 2 ? ErrorKind::kUser : ErrorKind::kWorld,
                fmt::format("[bench scaling] every run must end well, {} ended with {}. What it said stands above; "
                            "nothing was written",
                            what_, how));
  }
  nlohmann::json answer = nlohmann::json::parse(read_text_file(file_, kMostAnswerBytes), nullptr, false);
  if (!answer.is_object()) {
    throw WorldError(file_.string(), fmt::format("{} must print one JSON object and nothing else. Start it by hand to "
                                                 "see what it prints",
                                                 what_));
  }
  return answer;
}

}  // namespace triptych::launcher
