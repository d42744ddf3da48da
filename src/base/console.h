#pragma once

#include <string_view>
#include <utility>

#include "base/error.h"

// What people read of a program: standard output and standard error. Both may be closed, full, or read by somebody who
// has gone, and what is printed may come from outside. No function here throws; text goes through `printable`.

namespace triptych::base {

/// For the start of a program: opens standard input, output and error on /dev/null where they are closed, so that no
/// file gets their numbers and is written into, and ignores SIGPIPE, so that a reader who goes away is an error of a
/// write and not the end of the process.
void secure_standard_streams();

void print_text(std::string_view text);
/// To standard output. What cannot be written is told by `flush_standard_output`.
template <typename... Args>
void print(fmt::format_string<Args...> format, Args&&... args) {
  print_text(fmt::format(format, std::forward<Args>(args)...));
}
/// Writes out what was printed. Returns 0, or the errno of a print that was lost since the program began; EIO if only
/// that is known.
int flush_standard_output();

/// To standard error, at once, as it is: for a counter that rewrites its own line.
void print_progress(std::string_view text);
/// `triptych: warning: ...` and `triptych: error: ...` on standard error, each a line of its own, in one piece.
void print_warning(std::string_view text);
void print_error(std::string_view text);

}  // namespace triptych::base
