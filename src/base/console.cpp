#include "base/console.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include "base/text.h"

namespace triptych::base {
namespace {

void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

void print_line(std::string_view what, std::string_view text) {
  write_all(STDERR_FILENO, fmt::format("triptych: {}: {}\n", what, printable(text)));
}

}  // namespace

void secure_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    // The lowest free number is this one, since those below it are open.
    [[maybe_unused]] const int opened = ::open("/dev/null", descriptor == STDIN_FILENO ? O_RDONLY : O_WRONLY);
  }
  std::signal(SIGPIPE, SIG_IGN);
}

void print_text(std::string_view text) {
  const std::string shown = printable(text);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
}

int flush_standard_output() {
  errno = 0;
  if (std::fflush(stdout) != 0) return errno != 0 ? errno : EIO;
  return std::ferror(stdout) != 0 ? EIO : 0;
}

void print_progress(std::string_view text) {
  write_all(STDERR_FILENO, text);
}

void print_warning(std::string_view text) {
  print_line("warning", text);
}

void print_error(std::string_view text) {
  print_line("error", text);
}

}  // namespace triptych::base
