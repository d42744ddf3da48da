#pragma once

namespace triptych::launcher {

/// Catches the signals by which people and schedulers end a run (TERM, INT, HUP, USR1, USR2), so that it can stop well.
/// The first is kept until somebody asks; the next one ends the process, as it would have without this. A signal that
/// was ignored when the process started (`nohup`) stays ignored.
///
/// Holds until the process ends: a first signal that comes while a run that is done takes its leave of the other ranks
/// must not make a failure of it.
void catch_stop_signals();

/// The signal that came since, or 0.
int arrived_stop_signal();

}  // namespace triptych::launcher
