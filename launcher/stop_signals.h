#pragma once

namespace triptych::launcher {

/// Takes the signals by which people and schedulers end a run (TERM, INT, HUP, USR1, USR2) in a thread that waits for
/// them and does nothing else, so that the run can stop well. All others, which must be started after this, never see
/// them: no handler may run on the stack of a thread that computes, since oneDNN's kernels of fp32 products keep other
/// data in the stack pointer and break when the system puts a handler's frame there.
///
/// Until `keep_stop_signals`, a signal ends the process, as it would have without this. A signal that was ignored when
/// the process started (`nohup`) stays ignored. Throws WorldError if there is no thread to be had.
void take_stop_signals();

/// From here on the first signal is kept until somebody asks for it; the next one ends the process.
///
/// Holds until the process ends: a first signal that comes while a run that is done takes its leave of the other ranks
/// must not make a failure of it.
void keep_stop_signals();

/// The signal that is kept, or 0.
int kept_stop_signal();

}  // namespace triptych::launcher
