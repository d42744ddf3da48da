#include "base/error.h"

#include <system_error>

namespace triptych::base {

Error::Error(ErrorKind kind, std::string_view where, std::string_view message)
    : std::runtime_error(fmt::format("[{}] {}", where, message)), kind_(kind) {}

int Error::exit_code() const {
  switch (kind_) {
    case ErrorKind::kUser:
      return 2;
    case ErrorKind::kWorld:
      return 1;
    case ErrorKind::kInternal:
      return 70;
  }
  return 70;
}

std::string describe_errno(int error_number) {
  return fmt::format("errno {}: {}", error_number, std::generic_category().message(error_number));
}

namespace internal {

void check_failed(const char* condition, const std::string& message, const std::source_location& where) {
  throw InternalError(
      fmt::format("{}:{}", where.file_name(), where.line()),
      fmt::format("`{}` does not hold: {}. This is a defect of Triptych; please report it.", condition, message));
}

}  // namespace internal
}  // namespace triptych::base
