#!/usr/bin/python3
"""What each CUDA kernel of a build takes of an SM, as ptxas said when it was compiled.

usage: resource_table.py FOLDER SM...   FOLDER holds the objects' .ptxas files; SM are the architectures, such as 80 90

Prints registers, static shared memory and spilled bytes of every kernel. Fails if a kernel spills on any architecture,
if one is missing on some, or if there are none.
"""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

KERNEL = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)a?'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def read(folder):
    """{kernel: {sm: [registers, shared bytes, spilled bytes]}}"""
    kernels = defaultdict(dict)
    for file in sorted(Path(folder).rglob("*.ptxas")):
        entry = spilled = None
        for line in file.read_text().splitlines():
            if match := KERNEL.search(line):
                entry, spilled = match.groups(), None
            elif entry and (match := SPILLS.search(line)):
                spilled = int(match[2]) + int(match[3])
            elif entry and (match := USED.search(line)):
                kernels[entry[0]][int(entry[1])] = [int(match[1]), int(match[2] or 0), spilled]
                entry = None
    return kernels


def demangled(names):
    """Names without parameters and namespaces."""
    text = subprocess.run(["c++filt", "-p"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return [re.sub(r"triptych::|\(anonymous namespace\)::|cuda::|void ", "", line) for line in text.splitlines()]


def main(folder, *architectures):
    sms = [int(sm) for sm in architectures]
    kernels = read(folder)
    names = demangled(list(kernels))
    width = min(72, max(map(len, names), default=0))
    print(f"{'kernel':<{width}}" + "".join(f"{f'sm_{sm}: regs  smem  spill':>28}" for sm in sms))
    bad = []
    for name, (mangled, uses) in sorted(zip(names, kernels.items())):
        cells = ""
        for sm in sms:
            use = uses.get(sm)
            cells += f"{use[0]:>16}{use[1]:>6}{use[2]:>6}" if use else f"{'missing':>28}"
            if use is None or use[2] is None or use[2] > 0:
                bad.append(f"{name} on sm_{sm}: {'not compiled' if use is None else f'{use[2]} bytes are spilled'}")
        print(f"{name[:width]:<{width}}{cells}")
    print(f"{len(kernels)} kernels x {len(sms)} architectures, {len(bad)} that spill or are missing")
    for line in bad:
        print(f"resource_table: [{line}]", file=sys.stderr)
    return 1 if bad or not kernels else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
