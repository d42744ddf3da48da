#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

namespace triptych::emulator {

/// What the program knows by an opaque handle. A handle is a number that is never used again and that nothing can be
/// read through, so that one that was destroyed, or of another kind, is recognised. Thread-safe.
template <typename Handle, typename Info>
class Handles {
 public:
  explicit Handles(uint32_t kind) : kind_(uint64_t{kind} << 32) {}

  Handle add(Info info) {
    std::lock_guard lock(mutex_);
    const uint64_t key = kind_ + ++num_added_ * 16;
    infos_.emplace(key, std::move(info));
    return reinterpret_cast<Handle>(key);
  }
  std::optional<Info> find(Handle handle) const {
    std::lock_guard lock(mutex_);
    const auto found = infos_.find(reinterpret_cast<uint64_t>(handle));
    return found == infos_.end() ? std::nullopt : std::optional<Info>(found->second);
  }
  bool set(Handle handle, Info info) {
    std::lock_guard lock(mutex_);
    const auto found = infos_.find(reinterpret_cast<uint64_t>(handle));
    if (found == infos_.end()) return false;
    found->second = std::move(info);
    return true;
  }
  bool remove(Handle handle) {
    std::lock_guard lock(mutex_);
    return infos_.erase(reinterpret_cast<uint64_t>(handle)) == 1;
  }

 private:
  const uint64_t kind_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Info> infos_;
  uint64_t num_added_ = 0;
};

}  // namespace triptych::emulator
