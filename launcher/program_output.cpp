#include "launcher/program_output.h"

#include <array>
#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "launcher/backend.h"

extern char** environ;

namespace triptych::launcher {
namespace {

constexpr std::size_t kMostBytes = std::size_t{16} << 20;

}  // namespace

std::string program_output(std::string_view where, const std::filesystem::path& program,
                           std::vector<std::string> words) {
  std::array<int, 2> pipe;
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
    throw WorldError(where, fmt::format("cannot make a pipe ({})", describe_errno(errno)));
  }
  words.insert(words.begin(), program.string());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  pid_t child = -1;
  const int refused = ::posix_spawn(&child, program.c_str(), &actions, nullptr, pointers.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  std::string text;
  std::array<char, 4096> piece;
  for (ssize_t got = 0; refused == 0 && text.size() < kMostBytes;) {
    got = ::read(pipe[0], piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  ::close(pipe[0]);
  int status = 0;
  while (refused == 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (refused != 0) {
    throw WorldError(where, fmt::format("cannot start {} ({})", program.string(), describe_errno(refused)));
  }
  if (status != 0) {
    const bool is_users = WIFEXITED(status) && WEXITSTATUS(status) == 2;
    throw Error(
        is_users ? ErrorKind::kUser : ErrorKind::kWorld,
        fmt::format("[{}] could not be planned: {} ended with {} {}. It says why above", where, program.string(),
                    WIFEXITED(status) ? "code" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)));
  }
  return text;
}

std::string paper_output(std::string_view where, std::string_view remedy, std::vector<std::string> words) {
  const std::filesystem::path program = program_of("paper");
  if (program.empty()) {
    throw UserError(where, fmt::format("needs triptych-paper, which plans runs, and there is none beside this program. "
                                       "Build the target `triptych-paper`, or {}",
                                       remedy));
  }
  return program_output(where, program, std::move(words));
}

void append_config(std::vector<std::string>& words, const ConfigArguments& arguments) {
  words.push_back(arguments.file.string());
  for (const std::string& one : arguments.overrides) words.insert(words.end(), {"--set", one});
}

}  // namespace triptych::launcher
