#pragma once

namespace triptych::launcher {

/// Catches the signals by which people and schedulers end a run (TERM, INT, HUP, USR1, USR2), so that it can stop well.
/// The first is kept until somebody asks; the next one ends the process, as it would have without this. A signal that
/// was ignored when the process started (`nohup`) stays ignored. One of these a process: handlers belong to all of it.
class StopSignals {
 public:
  StopSignals() = default;
  /// Restores what was there.
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  void begin();
  /// The signal that came since, or 0.
  static int arrived();

 private:
  bool has_begun_ = false;
};

}  // namespace triptych::launcher
