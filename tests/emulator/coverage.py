#!/usr/bin/python3
"""What the kernels' tests executed under PTX emulation: fails if a kernel of the build was never launched.

usage: coverage.py COUNTERS.json...   as the emulator wrote them (TRIPTYCH_EMULATOR_COUNTERS)
"""

import json
import subprocess
import sys
from collections import Counter


def main(*files):
    kernels, opcodes = Counter(), Counter()
    for file in files:
        with open(file, encoding="utf-8") as text:
            counted = json.load(text)
        kernels.update(counted["kernel_executions"])
        opcodes.update(counted["opcode_executions"])
    print(f"{'opcode':<36}{'warp instructions':>20}")
    for opcode, count in sorted(opcodes.items()):
        print(f"{opcode:<36}{count:>20}")
    never = [name for name, count in kernels.items() if count == 0]
    print(f"{len(opcodes)} opcodes, {len(kernels)} kernels, {len(never)} never launched")
    if never:
        names = subprocess.run(["c++filt"], input="\n".join(never), capture_output=True, text=True, check=True).stdout
        print(f"coverage: [kernels] every kernel must be launched by a test, these were not:\n{names}", file=sys.stderr)
    return 1 if never or not kernels else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
