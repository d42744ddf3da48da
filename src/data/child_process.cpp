#include "data/child_process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::data {
namespace {

// The first byte of an answer.
constexpr char kAnswer = 'A', kUserFault = 'U', kWorldFault = 'W', kInternalFault = 'I';

void lower_limit(int resource, rlim_t value) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return;
  limit.rlim_cur = std::min(value, limit.rlim_max);
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

uint64_t address_space_bytes() {
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

[[noreturn]] void be_child(int pipe, const ChildLimits& limits, const std::function<std::string()>& work) {
  // What a dying library prints would only bury our message.
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (null >= 0) {
    ::dup2(null, STDERR_FILENO);
    ::dup2(null, STDOUT_FILENO);
  }
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGTERM, SIGINT}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);  // the parent may have a thread for them, which the child has not
  lower_limit(RLIMIT_CORE, 0);
  lower_limit(RLIMIT_CPU, limits.cpu_s);
  lower_limit(RLIMIT_AS, address_space_bytes() + limits.memory_bytes);

  std::string answer;
  try {
    answer = kAnswer + work();
  } catch (const Error& error) {
    const char kind = error.kind() == ErrorKind::kUser    ? kUserFault
                      : error.kind() == ErrorKind::kWorld ? kWorldFault
                                                          : kInternalFault;
    answer = kind + std::string(error.what());
  } catch (...) {
    ::_exit(3);  // out of memory, most likely; the parent says that no answer came
  }
  for (std::size_t done = 0; done < answer.size();) {
    const ssize_t n = ::write(pipe, answer.data() + done, answer.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) ::_exit(4);
    done += static_cast<std::size_t>(n);
  }
  ::_exit(0);
}

/// Everything the child writes until it closes the pipe; false when the time is up or the answer too long.
bool read_answer(int pipe, const ChildLimits& limits, std::string& answer) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(limits.wall_ms);
  std::array<char, 4096> buffer;
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd request{pipe, POLLIN, 0};
    const int ready = ::poll(&request, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno != EINTR) return false;
    if (ready <= 0) continue;
    const ssize_t n = ::read(pipe, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) return true;
    answer.append(buffer.data(), static_cast<std::size_t>(n));
    if (answer.size() > limits.answer_bytes + 1) return false;
  }
}

[[noreturn]] void throw_error(ErrorKind kind, std::string_view where, const std::string& message) {
  if (kind == ErrorKind::kUser) throw UserError(where, message);
  if (kind == ErrorKind::kWorld) throw WorldError(where, message);
  throw InternalError(where, message);
}

}  // namespace

std::string run_in_child(const ChildBlame& blame, const ChildLimits& limits, const std::function<std::string()>& work) {
  const auto no_child = [&](std::string_view what, int error_number) {
    throw WorldError(blame.where, fmt::format("cannot {} a child process ({})", what, describe_errno(error_number)));
  };
  std::array<int, 2> pipe;
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) no_child("make a pipe to", errno);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(pipe[0]);
    be_child(pipe[1], limits, work);
  }
  const int fork_errno = errno;
  ::close(pipe[1]);
  if (child < 0) {
    ::close(pipe[0]);
    no_child("start", fork_errno);
  }

  std::string answer;
  const bool complete = read_answer(pipe[0], limits, answer);
  ::close(pipe[0]);
  if (!complete) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const auto fail = [&](const std::string& what) {
    throw_error(blame.kind, blame.where, fmt::format("{} {}; {}", blame.action, what, blame.remedy));
  };
  if (!complete)
    fail(fmt::format("was stopped, since it took more than {} s or answered without end", limits.wall_ms / 1000));
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    fail(fmt::format("{} (signal {})", signal == SIGXCPU ? "took too much processor time" : "crashed", signal));
  }
  if (status != 0 || answer.empty()) {
    fail(fmt::format("ended without an answer (exit code {}), perhaps for want of memory", WEXITSTATUS(status)));
  }
  const char kind = answer.front();
  answer.erase(0, 1);
  if (kind == kAnswer) return answer;
  // The error's text already begins with its own "[where] ".
  const std::string prefix = fmt::format("[{}] ", blame.where);
  if (answer.starts_with(prefix)) answer.erase(0, prefix.size());
  throw_error(kind == kUserFault    ? ErrorKind::kUser
              : kind == kWorldFault ? ErrorKind::kWorld
                                    : ErrorKind::kInternal,
              blame.where, answer);
}

}  // namespace triptych::data
