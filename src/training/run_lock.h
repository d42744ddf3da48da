#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/rooms.h"

namespace triptych::training {

/// A process, so that no later one is taken for it: numbers of processes come again, a start's time since a boot does
/// not.
struct ProcessMark {
  std::string host;
  std::string boot;  ///< of the machine; Linux makes a new id each time
  int64_t pid = 0;
  uint64_t start_time = 0;  ///< clock ticks after the boot
  std::string since;        ///< when it took the lock, for people

  static ProcessMark of_this_process();
  /// True if `other` has the same host, and is known to have ended.
  bool knows_ended(const ProcessMark& other) const;
};

/// How a lock is held.
enum class LockMethod {
  kAutomatic,   ///< by flock, or by the file alone where the file system has no flock
  kByFileAlone  ///< for tests
};

/// A lock on a folder, so that one run at a time writes there: the file `run.lock` in it, with the mark of the process
/// that has it, on which that process holds a flock. The system drops a flock when its process ends, however that ends,
/// so the next run starts at once; NFS passes it on to the other clients. Where flock does not exist, or does not reach
/// other machines, the mark tells: a process of this machine can be looked up.
///
/// Not for two threads of a process at once. Released by the destructor, which removes the file.
class RunLock {
 public:
  /// Makes the folder if it is not there, and removes it again if it is still empty when the lock is released. Throws
  /// UserError if a process has the lock, or one of another machine that cannot be looked up has left it; WorldError if
  /// the folder or file cannot be made.
  explicit RunLock(std::filesystem::path folder, LockMethod method = LockMethod::kAutomatic);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// What to tell of a lock that a run left which did not end by itself; empty if there was none.
  const std::string& note() const { return note_; }

 private:
  bool try_lock(LockMethod method);
  bool take_by_file(bool is_new);
  void require_free(const std::string& text);
  void write_mark();

  std::filesystem::path folder_, path_;
  bool made_folder_ = false;
  int descriptor_ = -1;
  std::string note_;
};

}  // namespace triptych::training
