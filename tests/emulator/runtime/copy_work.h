#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator/device_memory.h"
#include "emulator/runtime/host_memory.h"
#include "emulator/runtime/work.h"

namespace triptych::emulator {

/// One side of a copy. `memory` is null for the host.
struct CopySide {
  uint64_t address = 0;
  std::size_t pitch = 0;  ///< from row to row, in bytes
  DeviceMemory* memory = nullptr;
};

/// Rows of bytes from one memory to another. A page-locked source must be, when the copy runs, what it was when the
/// copy was queued; a page-locked target holds poison in between. Either broken is `pinned-reused-early`.
class CopyWork : public Work {
 public:
  CopyWork(const CopySide& to, const CopySide& from, std::size_t row_bytes, std::size_t num_rows, HostMemory& host);
  ~CopyWork() override;
  std::string name() const override { return name_; }
  bool advance() override;
  bool can_run_again() const override { return true; }
  std::vector<Access> accesses() const override;

  /// "host to device" and so on.
  static const char* kind(const CopySide& to, const CopySide& from);

 private:
  std::byte* row(const CopySide& side, std::size_t index) const;
  uint64_t end(const CopySide& side) const;
  bool is_page_locked(const CopySide& side) const;
  void prepare_host_source();
  void prepare_host_target();
  uint64_t source_checksum() const;
  bool target_is_poison() const;

  CopySide to_, from_;
  std::size_t row_bytes_, num_rows_;
  HostMemory& host_;
  std::string name_;
  std::vector<std::byte> staged_;  // a copy of pageable host memory, as the driver makes one
  bool reads_page_locked_ = false, writes_page_locked_ = false;
  bool checks_source_ = false, checks_target_ = false;
  uint64_t checksum_ = 0;
};

/// cudaMemsetAsync, in rows.
class FillWork : public Work {
 public:
  FillWork(const CopySide& to, int value, std::size_t row_bytes, std::size_t num_rows);
  std::string name() const override { return name_; }
  bool advance() override;
  bool can_run_again() const override { return true; }
  std::vector<Access> accesses() const override;

 private:
  CopySide to_;
  int value_;
  std::size_t row_bytes_, num_rows_;
  std::string name_;
};

}  // namespace triptych::emulator
