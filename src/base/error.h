#pragma once

#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/rooms.h"

// nvcc evaluates constant expressions as its host compiler does; fmt 9 takes it for one that cannot, and fails.
#ifdef __CUDACC__
#define FMT_USE_CONSTEXPR 1
#endif
#include <fmt/core.h>

namespace triptych::base {

/// Whose error it is; decides the program's exit code.
///   kUser      a wrong config, command line or data set: exit code 2
///   kWorld     a peer died, a disk is full, a file was altered: exit code 1
///   kInternal  a broken invariant of ours: exit code 70
enum class ErrorKind { kUser, kWorld, kInternal };

/// Every error reads `[where] the rule, the values found. What to do.`; the program adds `(host, rank r/n)`.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string_view where, std::string_view message);
  /// With a text that has its `[where]` already: an error passed on from another rank.
  Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  /// 2 for the user's errors, 1 for the world's, 70 for ours.
  int exit_code() const;

 private:
  ErrorKind kind_;
};

struct UserError : Error {
  UserError(std::string_view where, std::string_view message) : Error(ErrorKind::kUser, where, message) {}
};

struct WorldError : Error {
  WorldError(std::string_view where, std::string_view message) : Error(ErrorKind::kWorld, where, message) {}
};

struct InternalError : Error {
  InternalError(std::string_view where, std::string_view message) : Error(ErrorKind::kInternal, where, message) {}
};

/// A layout that an operation does not take. Names the axis and the placements.
struct LayoutError : InternalError {
  using InternalError::InternalError;
};

/// "errno 28: No space left on device", for the end of a sentence about a system call.
std::string describe_errno(int error_number);

namespace internal {
[[noreturn]] void check_failed(const char* condition, const std::string& message, const std::source_location& where);
}

}  // namespace triptych::base

/// A broken invariant of ours: throws InternalError with the place, the condition and the formatted message.
#define TRIPTYCH_CHECK(condition, ...)                                                                                 \
  do {                                                                                                                 \
    if (!(condition)) [[unlikely]] {                                                                                   \
      ::triptych::base::internal::check_failed(#condition, fmt::format(__VA_ARGS__), std::source_location::current()); \
    }                                                                                                                  \
  } while (false)
