#include "launcher/measured_run.h"

#include <algorithm>
#include <cerrno>
#include <csignal>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::launcher {
namespace {

constexpr int64_t kMostAnswerBytes = int64_t{64} << 20;

std::filesystem::path this_program() {
  return std::filesystem::read_symlink("/proc/self/exe");
}

// In the child, between fork and exec: nothing that allocates.
[[noreturn]] void become(char* const* words, int output, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::signal(SIGPIPE, SIG_DFL);  // which this program ignores
  if (::getppid() != parent || ::dup2(output, STDOUT_FILENO) < 0) ::_exit(1);
  ::execv(words[0], words);
  ::_exit(1);
}

// "" if it is too long to be what is waited for.
std::string text_of(int file) {
  struct stat status {};
  if (::fstat(file, &status) != 0 || status.st_size > kMostAnswerBytes) return "";
  std::string text(static_cast<std::size_t>(status.st_size), ' ');
  const ssize_t length = ::pread(file, text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  return text;
}

}  // namespace

std::filesystem::path rank_starter(std::string_view where) {
  const std::filesystem::path starter = this_program().parent_path() / "triptych-run-ranks";
  if (::access(starter.c_str(), X_OK) == 0) return starter;
  throw WorldError(where, fmt::format("what starts ranks must lie beside this program, {} cannot be run: {}. "
                                      "Build or install Triptych anew",
                                      starter.string(), describe_errno(errno)));
}

MeasuredRun::MeasuredRun(const std::vector<std::string>& starter, const std::vector<std::string>& arguments,
                         std::string where, std::string what)
    : where_(std::move(where)), what_(std::move(what)), output_(::memfd_create("measured", MFD_CLOEXEC)) {
  const auto fail = [&] {
    const int error = errno;
    if (output_ >= 0) ::close(output_);
    throw WorldError(where_, fmt::format("{} cannot begin: {}", what_, describe_errno(error)));
  };
  if (output_ < 0) fail();
  std::vector<std::string> words = starter;
  words.push_back(this_program().string());
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t parent = ::getpid();
  child_ = ::fork();
  if (child_ == 0) become(pointers.data(), output_, parent);
  if (child_ < 0) fail();
}

MeasuredRun::~MeasuredRun() {
  if (child_ >= 0) {
    ::kill(child_, SIGTERM);  // asks its ranks to stop
    end();
  }
  ::close(output_);
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
                fmt::format("[{}] every run must end well, {} ended with {}. What it said stands above; "
                            "nothing was written",
                            where_, what_, how));
  }
  nlohmann::json answer = nlohmann::json::parse(text_of(output_), nullptr, false);
  if (!answer.is_object()) {
    throw WorldError(where_, fmt::format("{} must print one JSON object and nothing else. Start it by hand to "
                                         "see what it prints",
                                         what_));
  }
  return answer;
}

}  // namespace triptych::launcher
