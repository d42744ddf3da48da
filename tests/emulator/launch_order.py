#!/usr/bin/python3
"""In which order ranks launch on their communicators: every rank's calls of NCCL in one steady step, as the emulator has
seen them.

usage: launch_order.py RUN_RANKS TRIPTYCH_CUDA CONFIG

Fails if two ranks launch the collectives of communicators that they share in different orders, if two communicators have
the same ranks where one would do, or if a link of two stages carries messages of both directions.
"""

import json
import os
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[1] / "launcher"))
from small_runs import TASKS  # noqa: E402


def calls_by_rank(run_ranks, program, config, mesh, folder):
    """Of each rank, [communicator, call] in the order of the host."""
    ranks = 1
    words = ["bench", "step", config, "--steps", "1", "--warmup", "1", "--set", 'run.device="cuda"', "--set",
             "training.global_batch=8"]
    for axis, size in mesh.items():
        ranks *= size
        words += ["--set", f"parallel.{axis}={size}"]
    environment = os.environ | {"TRIPTYCH_EMULATOR_COUNTERS": f"{folder}/%r.json", "TRIPTYCH_EMULATOR_MEMORY_MB": "256"}
    command = [run_ranks, str(ranks), program, *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, env=environment)
    if result.returncode != 0:
        sys.exit(f"launch_order: exit code {result.returncode} of {command}\n{result.stdout}{result.stderr}")
    return [json.loads((Path(folder) / f"{rank}.json").read_text())["counted"]["nccl_order"] for rank in range(ranks)]


def is_link(communicator):
    return ", tag " in communicator


def faults_of(calls):
    """What is wrong with the orders of these ranks, a line each."""
    faults = []
    members, kinds = {}, {}
    for rank, own in enumerate(calls):
        for communicator, call in own:
            members.setdefault(communicator, set()).add(rank)
            kinds.setdefault((rank, communicator), set()).add(call)
    for a, b in combinations(range(len(calls)), 2):
        shared = {name for name, ranks in members.items() if {a, b} <= ranks and not is_link(name)}
        orders = [[entry for entry in calls[rank] if entry[0] in shared] for rank in (a, b)]
        if orders[0] != orders[1]:
            at = next((i for i, (x, y) in enumerate(zip(*orders)) if x != y), min(map(len, orders)))
            faults.append(f"ranks {a} and {b}, launch {at} of those that they share: {[o[at:at + 1] for o in orders]}")
    for (one, ranks), (other, others) in combinations(members.items(), 2):
        if ranks == others and not is_link(one) and not is_link(other):
            faults.append(f"'{one}' and '{other}' have the same ranks {sorted(ranks)}")
    for (rank, communicator), found in kinds.items():
        if is_link(communicator) and len(found) != 1:
            faults.append(f"rank {rank} has {sorted(found)} in '{communicator}'")
    return faults, members, kinds


def main(run_ranks, program, config):
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        caption = Path(folder) / "caption.toml"
        caption.write_text(f'task = "caption"\n{TASKS["caption"]}')  # its embedding is the first stage's and the last's
        for number, (file, mesh) in enumerate(((config, {"pp": 2, "dp": 2, "tp": 2}), (caption, {"pp": 2, "dp": 2}),
                                               (caption, {"pp": 2}))):
            counters = Path(folder) / str(number)
            counters.mkdir()
            calls = calls_by_rank(run_ranks, program, file, mesh, counters)
            faults, members, kinds = faults_of(calls)
            print(f"\nOne step of {Path(file).name} on {mesh}: rank 0's communicators, in the order of their first launch")
            for name, ranks in members.items():
                if 0 in ranks:
                    count = sum(entry[0] == name for entry in calls[0])
                    print(f"  {name:<60}{count:>4}  {', '.join(sorted(kinds[0, name]))}")
            for fault in faults:
                failed = True
                print(f"launch_order: [order] ranks must launch on shared communicators in one order, and have one for the "
                      f"same ranks: {fault}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
