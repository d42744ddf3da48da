#!/usr/bin/python3
"""What one steady training step does on a GPU: launches, bytes, copies, collectives, waits of the host. Counted by the
emulator while it executes the program's own step, so the counts are a GPU's and the times are not.

usage: step_table.py RUN_RANKS TRIPTYCH_CUDA CONFIG

Fails if the host waits for the device in a steady step, if a Transformer block takes more launches than it needs, or if one
of them clears memory.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MESHES = ({}, {"dp": 2, "tp": 2})
# llm.c's fp32 trainer (train_gpt2_fp32.cu), a Transformer block's launches counted from its source; it has no dropout.
# Forward: 2 layer norms, 4 products, 5 for attention, 2 residuals, GELU. Backward: 4 products of 3 launches, 7 for
# attention, 2 layer norms, GELU.
LLM_C_LAUNCHES = {"forward": 14, "backward": 22}
# Forward: 4 products, 2 norms, one with the residual before it, attention, GELU, the last residual. Backward: 8 products, 2
# norms, GELU, 3 for attention, a residual's mask with its bias's sum, 3 that add partial sums. The update is one for all.
MOST_BLOCK_LAUNCHES = 27


def count(run_ranks, program, config, mesh, layers):
    """The counters of rank 0 for one step after two."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = 1
        words = ["bench", "step", config, "--steps", "1", "--warmup", "2", "--set", 'run.device="cuda"', "--set",
                 "training.global_batch=8", "--set", f"model.image.layers={layers}", "--set", "model.dropout=0.1"]
        for axis, size in mesh.items():
            ranks *= size
            words += ["--set", f"parallel.{axis}={size}"]
        environment = os.environ | {"TRIPTYCH_EMULATOR_COUNTERS": f"{folder}/%r.json", "TRIPTYCH_EMULATOR_MEMORY_MB": "256",
                                    "OMPI_COMM_WORLD_RANK": "0"}
        if ranks > 1:
            del environment["OMPI_COMM_WORLD_RANK"]
        command = ([run_ranks, str(ranks)] if ranks > 1 else []) + [program, *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=environment)
        if result.returncode != 0:
            sys.exit(f"step_table: exit code {result.returncode} of {command}\n{result.stdout}{result.stderr}")
        return json.loads((Path(folder) / "0.json").read_text())["counted"]


def short(signature):
    """A kernel's name without namespaces and parameters."""
    return re.sub(r"^void |triptych::|\(anonymous namespace\)::|cuda::", "", signature).split("(")[0][:44]


def kernel_rows(counted):
    """{name: [launches, bytes read, bytes written]}, matrix products and memory operations included."""
    rows = {}
    for kernel in counted["kernels"]:
        row = rows.setdefault(short(kernel["signature"]), [0, 0, 0])
        for i, key in enumerate(("launches", "bytes_read", "bytes_written")):
            row[i] += kernel[key]
    products = counted["matmuls"]
    rows["matrix products (cuBLASLt)"] = [products["calls"], products["bytes_read"], products["bytes_written"]]
    for kind, copies in counted["copies"].items():
        rows[f"copy: {kind}"] = [copies["calls"], 0 if kind == "memset" else copies["bytes"], copies["bytes"]]
    return rows


def print_rows(title, rows):
    print(f"\n{title}\n{'':<46}{'launches':>9}{'bytes read':>12}{'written':>12}")
    for name, (launches, read, written) in sorted(rows.items(), key=lambda row: -row[1][1] - row[1][2]):
        print(f"{name:<46}{launches:>9}{read:>12}{written:>12}")
    totals = [sum(row[i] for row in rows.values()) for i in range(3)]
    print(f"{'together':<46}{totals[0]:>9}{totals[1]:>12}{totals[2]:>12}")
    return totals


def print_block(two_layers, three_layers):
    """One image Transformer block, forward, backward and update: the difference between a model with it and one without.
    Whether it takes no more launches than it needs.

    The least possible: each activation and weight read once where it is used, each result written once. For B = 8 samples
    of S = 26 tokens, H = 48, F = 112, float32: the numbers of elements below.
    """
    base, more = kernel_rows(two_layers), kernel_rows(three_layers)
    rows = {}
    for name, row in more.items():
        difference = [a - b for a, b in zip(row, base.get(name, [0, 0, 0]))]
        if any(difference):
            rows[name] = difference
    totals = print_rows("One Transformer block of the image tower: forward, backward, update (fp32, one rank)", rows)
    batch, seq, width, inner = 8, 26, 48, 112
    x, qkv, h = batch * seq * width, 3 * batch * seq * width, batch * seq * inner
    weights = 4 * width * width + 2 * width * inner + 9 * width + inner
    # Forward: norm, qkv, attention, out + residual + norm, in, gelu + down + residual. Backward: twice the products,
    # once the rest. Update: gradient, two moments and the weight read, three written.
    forward = 2 * x + (x + qkv) + (qkv + x) + 4 * x + (x + h) + (h + 2 * x)
    backward = (x + h + x + h) + (h + x + x) + 4 * x + (2 * x + x) + (2 * qkv + 2 * x + qkv) + (qkv + 2 * x) + 4 * x
    least = 4 * (forward + backward + 3 * weights + 7 * weights)
    num_memsets = rows.get("copy: memset", [0])[0]
    print(f"least possible {least} bytes; this is {(totals[1] + totals[2]) / least:.2f} times that. Launches: "
          f"{totals[0]}, of them {num_memsets} memsets; llm.c has {LLM_C_LAUNCHES['forward']} forward and "
          f"{LLM_C_LAUNCHES['backward']} backward.")
    if totals[0] <= MOST_BLOCK_LAUNCHES and num_memsets == 0:
        return True
    print(f"step_table: [block] a block must take at most {MOST_BLOCK_LAUNCHES} launches and clear nothing, found {totals[0]} "
          f"launches and {num_memsets} memsets. Look which kernel is new in the table of the block", file=sys.stderr)
    return False


def main(run_ranks, program, config):
    failed = False
    for mesh in MESHES:
        counted = count(run_ranks, program, config, mesh, 2)
        name = " x ".join(f"{axis} {size}" for axis, size in mesh.items()) or "one rank"
        print_rows(f"One step of {config} (fp32, batch 8, {name}; rank 0), executed under PTX emulation",
                   kernel_rows(counted))
        for call, used in counted["nccl"].items():
            print(f"{call:<46}{used['calls']:>9}{used['bytes']:>12}")
        waits = counted["host_synchronisations"]
        print(f"host synchronisations: {waits}; stream-ordered allocations: {counted['allocations']}")
        if any(waits.values()):
            print(f"step_table: [waits] the host must not wait for the device in a steady step: {waits}", file=sys.stderr)
            failed = True
    if not print_block(count(run_ranks, program, config, {}, 2), count(run_ranks, program, config, {}, 3)):
        failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
