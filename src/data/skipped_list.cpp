#include "data/skipped_list.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"

namespace triptych::data {
namespace {

constexpr std::size_t kWaitingBytes = std::size_t{1} << 20;

}  // namespace

SkippedList::SkippedList(std::filesystem::path path, uint64_t bytes) : path_(std::move(path)), bytes_(bytes) {
  std::error_code error;
  if (bytes == 0) {
    std::filesystem::remove(path_, error);
  } else {
    std::filesystem::resize_file(path_, bytes, error);
  }
  if (error) throw WorldError(path_.string(), fmt::format("cannot be cut to {} bytes ({}).", bytes, error.message()));
}

void SkippedList::add(std::string_view place, std::string_view reason, std::string_view problem) {
  const nlohmann::ordered_json line{{"place", place}, {"reason", reason}, {"problem", problem}};
  waiting_ += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (waiting_.size() > kWaitingBytes) flush();
}

uint64_t SkippedList::flush() {
  if (waiting_.empty()) return bytes_;
  const auto fail = [&](int why) {
    throw WorldError(path_.string(), fmt::format("cannot be written ({}).", describe_errno(why)));
  };
  const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) fail(errno);
  std::size_t done = 0;
  int failure = 0;
  while (done < waiting_.size() && failure == 0) {
    const ssize_t wrote =
        ::pwrite(file, waiting_.data() + done, waiting_.size() - done, static_cast<off_t>(bytes_ + done));
    if (wrote < 0 && errno != EINTR) failure = errno;
    if (wrote > 0) done += static_cast<std::size_t>(wrote);
  }
  if (failure == 0 && ::fsync(file) != 0) failure = errno;
  ::close(file);
  if (failure != 0) fail(failure);
  bytes_ += waiting_.size();
  waiting_.clear();
  return bytes_;
}

}  // namespace triptych::data
