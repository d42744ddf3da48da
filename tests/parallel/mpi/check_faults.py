"""Ranks that die, hang, disagree or throw: all of them end soon, with the right exit code, and somebody says why.

usage: check_faults.py RUN_RANKS FAULTY_RANKS
"""

import subprocess
import sys
import time

run_ranks, program = sys.argv[1:]
failures = []


def check(fault, transports, exit_codes, *texts):
    """Runs the fault on three ranks over each transport. Every text must be in what they print."""
    for transport in transports:
        begin = time.monotonic()
        try:
            result = subprocess.run([run_ranks, "3", program, transport, fault], capture_output=True, text=True,
                                    timeout=60)
            printed, code = result.stdout + result.stderr, result.returncode
        except subprocess.TimeoutExpired as expired:
            printed, code = str(expired), "none: it hangs"
        seconds = time.monotonic() - begin
        wrong = [f"exit code {code}, expected one of {exit_codes}"] if code not in exit_codes else []
        wrong += [f"does not say {text!r}" for text in texts if text not in printed]
        print(f"{'FAILED' if wrong else 'ok':6} {fault} over {transport}: exit code {code} after {seconds:.1f} s")
        if wrong:
            failures.append(fault)
            print("   " + "\n   ".join(wrong) + "\n   it printed:\n" + printed)


both = ["shared", "mpi"]
check("none", both, [0], "ended well")
check("killed", both, [137, 1])
check("missing", ["shared"], [1], "missing: rank 1 (world rank 1).", "number 20, all_reduce(sum, float32 x 7)")
check("missing", ["mpi"], [1], "[group world] a peer must come within 1.5 s: number 20, all_reduce(sum, float32 x 7)")
check("silent_peer", both, [1], "number 0, recv(float32 x 7, from rank 1, tag 3)")
check("too_long", both, [1], "recv(float32 x 7, from rank 1, tag 3) must succeed: MPI_ERR_TRUNCATE")
check("too_short", both, [70], "recv(float32 x 7, from rank 1, tag 3), got 5 elements")
check("disagreement", ["shared"], [70], "rank 0 (world rank 0): number 20, all_reduce(sum, float32 x 7)",
      "rank 1 (world rank 1): number 20, all_gather(float32 x 7)")
check("unwinds", both, [1])
check("user_error", both, [2], "[test] a mistake of the user (rank 1)")
sys.exit(1 if failures else 0)
