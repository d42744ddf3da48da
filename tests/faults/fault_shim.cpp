// Stands between a program and the C library (LD_PRELOAD) and makes one of its calls fail, come short, stop or kill the
// process. What it does is said by the environment:
//
//   TRIPTYCH_FAULT_ROOT    a folder: only calls on what lies below it count, and on the program's own shared memory
//   TRIPTYCH_FAULT_CALL    which call: open, read, write, fsync, rename, mmap, ftruncate (and every variant of one)
//   TRIPTYCH_FAULT_AT      the number of the call that is hit, counted from 1 over the process and its forked children
//   TRIPTYCH_FAULT_ACTION  a number: errno of the failure; "short": half of the bytes; "stop", "kill": itself
//   TRIPTYCH_FAULT_REPEAT  1: every later one is hit too, as on a full disk
//   TRIPTYCH_FAULT_MATCH   only paths with this in them
//   TRIPTYCH_FAULT_RANK    only in the process of this rank
//   TRIPTYCH_FAULT_LOG     a file: each counted call is appended to it, "write /path\n", one that is hit behind a "!"
//
// A call of the C library to itself does not come by here (fopen's open, say): fopen has its own place below.

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

enum class Verdict { kPass, kFail, kShort };

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Plan {
  std::string root = setting("TRIPTYCH_FAULT_ROOT"), call = setting("TRIPTYCH_FAULT_CALL"),
              action = setting("TRIPTYCH_FAULT_ACTION"), match = setting("TRIPTYCH_FAULT_MATCH");
  long at = std::atol(setting("TRIPTYCH_FAULT_AT").c_str());
  bool repeats = setting("TRIPTYCH_FAULT_REPEAT") == "1";
  bool is_on = !root.empty();
  int log = -1;
  std::atomic<long>* count = nullptr;  // shared with forked children

  Plan() {
    const std::string rank = setting("TRIPTYCH_FAULT_RANK"), file = setting("TRIPTYCH_FAULT_LOG");
    if (!rank.empty() && rank != setting("OMPI_COMM_WORLD_RANK")) is_on = false;
    if (!is_on) return;
    // Past the functions below, which would come back here.
    if (!file.empty()) {
      log = static_cast<int>(
          ::syscall(SYS_openat, AT_FDCWD, file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    }
    const long page =
        ::syscall(SYS_mmap, nullptr, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    count = reinterpret_cast<std::atomic<long>*>(page);
    is_on = page > 0;
  }
};

Plan& plan() {
  static Plan plan;
  return plan;
}

std::string path_of(int descriptor) {
  char path[4096];
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  const ssize_t bytes = ::readlink(link.c_str(), path, sizeof(path));
  return bytes <= 0 ? "" : std::string(path, static_cast<std::size_t>(bytes));
}

std::string full_path(int folder, const char* path) {
  if (path == nullptr || path[0] == '/') return path == nullptr ? "" : path;
  if (folder != AT_FDCWD) return path_of(folder) + "/" + path;
  char here[4096];
  return ::getcwd(here, sizeof(here)) == nullptr ? path : std::string(here) + "/" + path;
}

void log_call(const Plan& p, const char* prefix, std::string_view call, const std::string& path) {
  if (p.log < 0) return;
  const std::string line = prefix + std::string(call) + " " + path + "\n";
  (void)!::syscall(SYS_write, p.log, line.data(), line.size());
}

// What becomes of a call. Sets errno of one that fails.
Verdict judge(std::string_view call, const std::string& path) {
  Plan& p = plan();
  if (path.compare(0, p.root.size(), p.root) != 0 && path.compare(0, 15, "/memfd:triptych") != 0) return Verdict::kPass;
  if (path.find(p.match) == std::string::npos) return Verdict::kPass;
  const long number = p.call == call ? ++*p.count : 0;
  if (number == 0 || (p.repeats ? number < p.at : number != p.at)) {
    log_call(p, "", call, path);
    return Verdict::kPass;
  }
  log_call(p, "!", call, path);
  if (p.action == "short") return Verdict::kShort;
  if (p.action == "stop" || p.action == "kill") {
    ::kill(::getpid(), p.action == "stop" ? SIGSTOP : SIGKILL);
    return Verdict::kPass;
  }
  errno = std::atoi(p.action.c_str());
  return Verdict::kFail;
}

// Whether a call is looked at; spares a run without a plan the names of its files.
bool counts(std::string_view call) {
  const Plan& p = plan();
  return p.is_on && (p.log >= 0 || p.call == call);
}

Verdict judge_descriptor(std::string_view call, int descriptor) {
  if (!counts(call)) return Verdict::kPass;
  const int before = errno;
  const std::string path = path_of(descriptor);
  errno = before;
  return path.empty() ? Verdict::kPass : judge(call, path);
}

Verdict judge_path(std::string_view call, int folder, const char* path) {
  return counts(call) ? judge(call, full_path(folder, path)) : Verdict::kPass;
}

template <typename Function>
Function* real(const char* name, Function*) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

std::size_t cut(Verdict verdict, std::size_t bytes) {
  return verdict == Verdict::kShort && bytes > 1 ? bytes / 2 : bytes;
}

}  // namespace

extern "C" {

#define TRIPTYCH_FAULT_REAL(name) static const auto next = real(#name, static_cast<decltype(&name)>(nullptr))

#define TRIPTYCH_FAULT_OPEN(name)                                                               \
  int name(const char* path, int flags, ...) {                                                  \
    TRIPTYCH_FAULT_REAL(name);                                                                  \
    va_list rest;                                                                               \
    va_start(rest, flags);                                                                      \
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;        \
    va_end(rest);                                                                               \
    return judge_path("open", AT_FDCWD, path) == Verdict::kFail ? -1 : next(path, flags, mode); \
  }
#define TRIPTYCH_FAULT_OPENAT(name)                                                                   \
  int name(int folder, const char* path, int flags, ...) {                                            \
    TRIPTYCH_FAULT_REAL(name);                                                                        \
    va_list rest;                                                                                     \
    va_start(rest, flags);                                                                            \
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;              \
    va_end(rest);                                                                                     \
    return judge_path("open", folder, path) == Verdict::kFail ? -1 : next(folder, path, flags, mode); \
  }
#define TRIPTYCH_FAULT_FOPEN(name)                                                            \
  FILE* name(const char* path, const char* mode) {                                            \
    TRIPTYCH_FAULT_REAL(name);                                                                \
    return judge_path("open", AT_FDCWD, path) == Verdict::kFail ? nullptr : next(path, mode); \
  }
#define TRIPTYCH_FAULT_MOVE_BYTES(name, call, Pointer)                                   \
  ssize_t name(int descriptor, Pointer bytes, size_t size) {                             \
    TRIPTYCH_FAULT_REAL(name);                                                           \
    const Verdict verdict = judge_descriptor(call, descriptor);                          \
    return verdict == Verdict::kFail ? -1 : next(descriptor, bytes, cut(verdict, size)); \
  }
#define TRIPTYCH_FAULT_MOVE_BYTES_AT(name, call, Pointer, Offset)                                \
  ssize_t name(int descriptor, Pointer bytes, size_t size, Offset offset) {                      \
    TRIPTYCH_FAULT_REAL(name);                                                                   \
    const Verdict verdict = judge_descriptor(call, descriptor);                                  \
    return verdict == Verdict::kFail ? -1 : next(descriptor, bytes, cut(verdict, size), offset); \
  }
#define TRIPTYCH_FAULT_ON_DESCRIPTOR(name, call)                                         \
  int name(int descriptor) {                                                             \
    TRIPTYCH_FAULT_REAL(name);                                                           \
    return judge_descriptor(call, descriptor) == Verdict::kFail ? -1 : next(descriptor); \
  }
#define TRIPTYCH_FAULT_TRUNCATE(name, Offset)                                                         \
  int name(int descriptor, Offset size) noexcept {                                                    \
    TRIPTYCH_FAULT_REAL(name);                                                                        \
    return judge_descriptor("ftruncate", descriptor) == Verdict::kFail ? -1 : next(descriptor, size); \
  }
#define TRIPTYCH_FAULT_MMAP(name, Offset)                                                                     \
  void* name(void* address, size_t size, int protection, int flags, int descriptor, Offset offset) noexcept { \
    TRIPTYCH_FAULT_REAL(name);                                                                                \
    const bool fails = descriptor >= 0 && judge_descriptor("mmap", descriptor) == Verdict::kFail;             \
    return fails ? MAP_FAILED : next(address, size, protection, flags, descriptor, offset);                   \
  }

TRIPTYCH_FAULT_OPEN(open)
TRIPTYCH_FAULT_OPEN(open64)
TRIPTYCH_FAULT_OPENAT(openat)
TRIPTYCH_FAULT_OPENAT(openat64)
TRIPTYCH_FAULT_FOPEN(fopen)
TRIPTYCH_FAULT_FOPEN(fopen64)
TRIPTYCH_FAULT_MOVE_BYTES(read, "read", void*)
TRIPTYCH_FAULT_MOVE_BYTES_AT(pread, "read", void*, off_t)
TRIPTYCH_FAULT_MOVE_BYTES_AT(pread64, "read", void*, off64_t)
TRIPTYCH_FAULT_MOVE_BYTES(write, "write", const void*)
TRIPTYCH_FAULT_MOVE_BYTES_AT(pwrite, "write", const void*, off_t)
TRIPTYCH_FAULT_MOVE_BYTES_AT(pwrite64, "write", const void*, off64_t)
TRIPTYCH_FAULT_ON_DESCRIPTOR(fsync, "fsync")
TRIPTYCH_FAULT_ON_DESCRIPTOR(fdatasync, "fsync")
TRIPTYCH_FAULT_TRUNCATE(ftruncate, off_t)
TRIPTYCH_FAULT_TRUNCATE(ftruncate64, off64_t)
TRIPTYCH_FAULT_MMAP(mmap, off_t)
TRIPTYCH_FAULT_MMAP(mmap64, off64_t)

int rename(const char* from, const char* to) noexcept {
  TRIPTYCH_FAULT_REAL(rename);
  return judge_path("rename", AT_FDCWD, to) == Verdict::kFail ? -1 : next(from, to);
}

int renameat2(int from_folder, const char* from, int to_folder, const char* to, unsigned flags) noexcept {
  TRIPTYCH_FAULT_REAL(renameat2);
  return judge_path("rename", to_folder, to) == Verdict::kFail ? -1 : next(from_folder, from, to_folder, to, flags);
}

}  // extern "C"
