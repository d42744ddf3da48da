#pragma once

#include <cstdint>
#include <string>

#include "emulator/device_memory.h"
#include "emulator/nccl/call.h"
#include "emulator/nccl/comm.h"

namespace triptych::emulator {

/// What one call needs to be done, bit by bit, without ever blocking.
class Run {
 public:
  Run(Comm& comm, DeviceMemory& memory, const Call& call, uint64_t number, std::string who)
      : comm_(comm), memory_(memory), call_(call), number_(number), who_(std::move(who)) {}
  virtual ~Run() = default;
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Does what can be done now; true if anything could.
  virtual bool advance() = 0;
  virtual bool done() const = 0;
  /// The ranks that have to do something before this can go on.
  virtual uint64_t waits_for() const = 0;
  const Call& call() const { return call_; }

 protected:
  Comm& comm_;
  DeviceMemory& memory_;
  Call call_;
  uint64_t number_;
  std::string who_;
};

/// A collective: every rank lays its contribution out for the others, step by step, and takes what it needs from all,
/// in the order of the ranks. Reports `nccl-mismatch` where they do not call the same.
class CollectiveRun : public Run {
 public:
  CollectiveRun(Comm& comm, DeviceMemory& memory, const Call& call, uint64_t number, std::string who);
  bool advance() override;
  bool done() const override { return num_consumed_ == num_steps_; }
  uint64_t waits_for() const override;

 private:
  using Step = Staged<(32 << 10)>;
  void begin();
  bool can_fill() const;
  bool can_consume() const;
  void fill();
  void consume();
  void check_agreement(int rank, const Step& step) const;
  void combine(uint64_t begin, uint64_t end, uint64_t to);

  uint64_t total_bytes_ = 0;
  uint64_t first_step_ = 0, num_steps_ = 0;
  uint64_t num_filled_ = 0, num_consumed_ = 0;
  bool begun_ = false;
};

/// One side of a message. A send is done only when it has been received whole: what NCCL buffers is not to be relied
/// on.
class MessageRun : public Run {
 public:
  MessageRun(Comm& comm, DeviceMemory& memory, const Call& call, uint64_t number, std::string who);
  bool advance() override;
  bool done() const override;
  uint64_t waits_for() const override { return done() ? 0 : uint64_t{1} << call_.record.peer; }
  bool sends() const { return call_.record.kind == CallKind::kSend; }
  PairState& pair() const { return pair_; }

 private:
  bool advance_send();
  bool advance_recv();

  PairState& pair_;
  uint64_t num_pieces_ = 0, num_moved_ = 0, first_piece_ = 0;
  bool begun_ = false;
};

}  // namespace triptych::emulator
