"""Ranks that die, hang, disagree or throw: all of them end soon, with the right exit code, and somebody says why. So they
do where mpirun crashes when they have ended.

usage: check_faults.py RUN_RANKS FAULTY_RANKS
"""

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parents[1]))
from fault_checks import FaultChecks  # noqa: E402  (found in the folder above)

faults = FaultChecks(*sys.argv[1:])


def check(fault, transports, exit_codes, *texts, **environment):
    for transport in transports:
        faults.check(f"{transport} {fault}", exit_codes, *texts, **environment)


both = ["shared", "mpi"]
check("none", both, [0], "ended well")
check("killed", both, [137, 1])
waiting = "number 20, all_reduce(sum, float32 x 7)"
host = socket.gethostname()
check("missing", ["shared"], [1], f"[group world] a peer must come within 1.5 s: {waiting}", "missing: rank 1 (world rank 1).",
      f"No answer from rank 1 on {host} (its process ", "runs or sleeps, it was doing: what is left)",
      f"; these answer: ranks 0, 2 ({waiting} in group world)")
check("missing", ["mpi"], [1], f"[group world] a peer must come within 1.5 s: {waiting}",
      f"No answer from rank 1 on {host}; these answer: ranks 0, 2 ({waiting} in group world)")
check("stopped", ["shared"], [1], f"No answer from rank 1 on {host} (its process ",
      "is stopped by a signal, it was doing: the first sums); these answer: ranks 0, 2")
check("stopped", ["mpi"], [1], f"No answer from rank 1 on {host}; these answer: ranks 0, 2")
receive = "number 0, recv(float32 x 7, from rank {}, tag 3) in group world"
check("deadlock", both, [1], "All ranks answer, so they wait for each other: ", f"rank 0 ({receive.format(1)})",
      f"rank 1 ({receive.format(0)})", "rank 2")
check("silent_peer", both, [1], "number 0, recv(float32 x 7, from rank 1, tag 3)", f"No answer from rank 1 on {host}")
for fault, sent in (("too_long", 9), ("too_short", 5)):
    check(fault, ["shared"], [70], "[group world] both ranks must state the same count and type; "
          "rank 0 (world rank 0): number 0, recv(float32 x 7, from rank 1, tag 3); "
          f"rank 1 (world rank 1): number 0, send(float32 x {sent}, to rank 0, tag 3)")
check("too_long", ["mpi"], [1], "recv(float32 x 7, from rank 1, tag 3) must succeed: MPI_ERR_TRUNCATE")
check("too_short", ["mpi"], [70], "recv(float32 x 7, from rank 1, tag 3), got 5 elements")
check("none", ["machines"], [0], "ended well")
check("killed", ["machines"], [137, 1])
after_hosts = waiting.replace("20", "22")  # ranks of several machines tell each other their addresses first
check("missing", ["machines"], [1], f"[group world] a peer must come within 1.5 s: {after_hosts}", "missing: rank 1 (world rank 1).",
      f"; these answer: ranks 0, 2 ({after_hosts} in group world)")
check("disagreement", ["machines"], [70], f"rank 0 (world rank 0): {after_hosts}; "
      "rank 1 (world rank 1): number 22, all_gather(float32 x 7)")
check("disagreement", ["shared"], [70], "rank 0 (world rank 0): number 20, all_reduce(sum, float32 x 7)",
      "rank 1 (world rank 1): number 20, all_gather(float32 x 7)")
check("unwinds", both, [1])
check("user_error", both, [2], "[test] a mistake of the user (rank 1)")

with tempfile.TemporaryDirectory() as folder:
    mpirun = Path(folder, "mpirun")
    mpirun.write_text("#!/usr/bin/python3\nimport os, subprocess, sys\n"
                      f"subprocess.run([{shutil.which('mpirun')!r}, *sys.argv[1:]])\nos.kill(os.getpid(), 11)\n")
    mpirun.chmod(0o755)
    crashing = {"PATH": f"{folder}:{os.environ['PATH']}"}
    crash = "[mpirun] must end by itself, it was ended by signal 11 (SIGSEGV)"
    for fault, code in (("none", 0), ("stopped", 1), ("too_short", 70), ("unwinds", 1), ("user_error", 2)):
        check(fault, ["shared"], [code], crash, **crashing)
faults.exit()
