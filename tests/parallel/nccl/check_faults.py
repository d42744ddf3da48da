"""Ranks with GPUs that die, hang or give up: all of them end soon, with the right exit code, and somebody says why.

usage: check_faults.py RUN_RANKS FAULTY_NCCL_RANKS

The program is linked with the emulator, of whose environment variables some machines here are made.
"""

import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.append(str(Path(__file__).parents[1]))
from fault_checks import FaultChecks  # noqa: E402  (found in the folder above)

faults = FaultChecks(*sys.argv[1:])
check = faults.check

check("none", [0], "ended well")
check("killed", [137, 1])
check("missing", [1], "[group all] a peer must come within 1.5 s: number 20, all_reduce(sum, float32 x 7) on rank ",
      "for one or more of rank ", "rank 1 (world rank 1)")
check("seen_late", [1], "[group all] a peer must come within 1.5 s: number 20, all_reduce(sum, float32 x 7) on rank 2 ",
      "No answer from rank 1 on ", "; these answer: ranks 0, 2 (")
check("silent_peer", [1], "[group all] a peer must come within 1.5 s: number 0, recv(float32 x 7, from rank 1, tag 3) on "
      "rank 0 (world rank 0)", "for rank 1 (world rank 1). Look at")
check("gives_up", [1, 2], "[group all] number 20, all_reduce(sum, float32 x 7) on rank ", "has aborted")
check("out_of_memory", [1], "[device] out of memory on GPU 1: 1.00 TiB were asked for", "1.00 GiB that it has")
check("disagreement", [86, 1], "[nccl-mismatch]", "ncclAllGather(float32 x 7)", "ncclAllReduce(sum, float32 x 7)")
check("none", [1, 2], "[device] a GPU must be one of those that the process sees: GPU 2, found 2", TRIPTYCH_EMULATOR_DEVICES="2")
check("none", [2], "[device] device = \"cuda\" needs NVIDIA's driver", TRIPTYCH_EMULATOR_DEVICES="0")
faults.exit()
