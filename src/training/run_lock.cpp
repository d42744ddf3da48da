#include "training/run_lock.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/program_identity.h"

namespace triptych::training {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLockName = "run.lock";
constexpr std::size_t kMaxLockBytes = 4096;
constexpr int kMaxTries = 100;

// All that /proc gives; "" if there is no such file (any more).
std::string read_proc(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return "";
  std::array<char, kMaxLockBytes> buffer{};
  const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
  ::close(descriptor);
  return count > 0 ? std::string(buffer.data(), static_cast<std::size_t>(count)) : "";
}

// Field 22 of /proc/PID/stat; 0 if there is no such process, or it has ended and only waits to be collected. The
// second field is a name in parentheses that may hold anything.
uint64_t start_time_of(int64_t pid) {
  const std::string stat = read_proc(fmt::format("/proc/{}/stat", pid));
  const std::size_t end_of_name = stat.rfind(')');
  if (end_of_name == std::string::npos) return 0;
  char state = 0;
  unsigned long long start = 0;
  // state, 18 fields that are not looked at, starttime
  const int found =
      std::sscanf(stat.c_str() + end_of_name + 1,
                  " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state, &start);
  return found == 2 && state != 'Z' && state != 'X' ? start : 0;
}

std::string to_text(const ProcessMark& mark) {
  return nlohmann::ordered_json{
             {"format", "triptych-lock"},        {"host", mark.host},  {"boot", mark.boot}, {"pid", mark.pid},
             {"process_start", mark.start_time}, {"since", mark.since}}
             .dump() +
         "\n";
}

std::optional<ProcessMark> parse_mark(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", nlohmann::json()) != nlohmann::json("triptych-lock"))
    return std::nullopt;
  try {
    return ProcessMark{.host = json.at("host").get<std::string>(),
                       .boot = json.at("boot").get<std::string>(),
                       .pid = json.at("pid").get<int64_t>(),
                       .start_time = json.at("process_start").get<uint64_t>(),
                       .since = json.at("since").get<std::string>()};
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::string read_lock(int descriptor) {
  std::array<char, kMaxLockBytes> buffer{};
  const ssize_t count = ::pread(descriptor, buffer.data(), buffer.size(), 0);
  return count > 0 ? std::string(buffer.data(), static_cast<std::size_t>(count)) : "";
}

std::string describe(const ProcessMark& mark) {
  return fmt::format("process {} on {}, since {}", mark.pid, mark.host, mark.since);
}

// Whether the file of that name is the one that is open: it may have been removed, and another made.
bool is_named(int descriptor, const fs::path& path) {
  struct stat opened {
  }, named{};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

[[noreturn]] void refuse(const fs::path& folder, const std::string& owner) {
  throw UserError(folder.string(), fmt::format("another run is at work in this folder ({}). Wait for its end, stop it, "
                                               "or choose another run.dir",
                                               owner));
}

}  // namespace

ProcessMark ProcessMark::of_this_process() {
  std::string boot = read_proc("/proc/sys/kernel/random/boot_id");
  while (!boot.empty() && boot.back() == '\n') boot.pop_back();
  const auto pid = static_cast<int64_t>(::getpid());
  return {.host = machine_name(), .boot = boot, .pid = pid, .start_time = start_time_of(pid), .since = utc_time_text()};
}

bool ProcessMark::knows_ended(const ProcessMark& other) const {
  if (other.host != host) return false;
  return other.boot != boot || start_time_of(other.pid) != other.start_time;
}

RunLock::RunLock(fs::path folder, LockMethod method) : folder_(std::move(folder)), path_(folder_ / kLockName) {
  std::error_code error;
  made_folder_ = fs::create_directories(folder_, error);
  std::error_code ignored;
  if (!fs::is_directory(folder_, ignored)) {
    throw WorldError(folder_.string(), fmt::format("cannot make the run's folder ({})", error.message()));
  }
  try {
    for (int i = 0; i < kMaxTries; ++i) {
      if (try_lock(method)) {
        write_mark();
        return;
      }
      ::close(std::exchange(descriptor_, -1));
    }
  } catch (...) {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (made_folder_) ::rmdir(folder_.c_str());
    throw;
  }
  refuse(folder_, "several are starting");
}

RunLock::~RunLock() {
  // While the flock is held: nobody else has this file. Somebody may have removed it, and another run be at work.
  if (is_named(descriptor_, path_)) ::unlink(path_.c_str());
  ::close(descriptor_);
  if (made_folder_) ::rmdir(folder_.c_str());  // fails if something was written
}

// False if the file was replaced meanwhile: then once more. Leaves an open descriptor.
bool RunLock::try_lock(LockMethod method) {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
  const bool is_new = descriptor_ >= 0;
  if (!is_new && errno == EEXIST) descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor_ < 0) {
    if (errno == ENOENT) return false;  // released between the two
    throw WorldError(path_.string(), fmt::format("cannot take the lock ({})", describe_errno(errno)));
  }
  if (method == LockMethod::kByFileAlone) return take_by_file(is_new);
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return take_by_file(is_new);
    const std::optional<ProcessMark> owner = parse_mark(read_lock(descriptor_));
    refuse(folder_, owner ? describe(*owner) : "it has just been started");
  }
  if (!is_named(descriptor_, path_)) return false;  // it was released, and removed, before the flock was ours
  require_free(read_lock(descriptor_));
  return true;
}

// Without flock: who makes the file has the lock. What an ended process left is removed by the one that makes a file
// named after its contents, so that nobody removes what has come in its place.
bool RunLock::take_by_file(bool is_new) {
  if (is_new) return true;
  const std::string text = read_lock(descriptor_);
  if (text.empty()) refuse(folder_, fmt::format("it has just been started; if not, remove {}", path_.string()));
  require_free(text);
  const fs::path claim = path_.string() + fmt::format(".{:016x}", hash64(std::as_bytes(std::span(text))));
  const int claimed = ::open(claim.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (claimed < 0) refuse(folder_, fmt::format("it has just been started; if not, remove {}", claim.string()));
  ::close(claimed);
  const int now = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (now >= 0) {
    if (read_lock(now) == text) ::unlink(path_.c_str());
    ::close(now);
  }
  ::unlink(claim.c_str());
  return false;
}

// Throws unless the process that the text names has ended for certain.
void RunLock::require_free(const std::string& text) {
  if (text.empty()) return;
  const std::optional<ProcessMark> owner = parse_mark(text);
  if (!owner) {
    throw UserError(path_.string(),
                    "must be the lock of a run, found another file. Move it away, or choose another "
                    "run.dir");
  }
  const ProcessMark self = ProcessMark::of_this_process();
  if (owner->host != self.host) {
    throw UserError(path_.string(),
                    fmt::format("a run is at work in this folder, or was when it was lost with its machine ({}); from "
                                "{} that cannot be told. If it has ended, remove this file and start again",
                                describe(*owner), self.host));
  }
  if (!self.knows_ended(*owner)) refuse(folder_, describe(*owner));
  note_ = fmt::format("the run that was at work in {} ended without saying so ({}); its lock is taken over",
                      folder_.string(), describe(*owner));
}

void RunLock::write_mark() {
  const std::string text = to_text(ProcessMark::of_this_process());
  const bool is_written = ::ftruncate(descriptor_, 0) == 0 &&
                          ::pwrite(descriptor_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
                          ::fsync(descriptor_) == 0;
  if (is_written) return;
  const int error_number = errno;
  ::unlink(path_.c_str());
  throw WorldError(path_.string(), fmt::format("cannot write the lock ({})", describe_errno(error_number)));
}

}  // namespace triptych::training
