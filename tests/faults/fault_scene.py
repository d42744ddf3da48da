"""What the faults are tried on: a small data set and its runs, the program with a fault in it, and how it ended."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "launcher"))
import small_runs  # noqa: E402  (found in the folder above)

LATEST = "run/checkpoints/latest"
# What a call of the shim may answer with: errno by name, for the message, and half of the bytes.
ERRORS = {"EIO": 5, "ENOMEM": 12, "ENFILE": 23, "EMFILE": 24, "ENOSPC": 28, "EINTR": 4}


class Result:
    """How a call of the program ended."""

    def __init__(self, code, said, hung):
        self.code, self.said, self.hung = code, said, hung

    @property
    def crashed(self):
        """It ended by a signal, as subprocess or a shell says it, or by the C++ library's or a sanitizer's abort."""
        return self.code < 0 or 128 < self.code < 160

    @property
    def told(self):
        """It failed as failures must: with exit code 1 or 2, and an error that says where."""
        return self.code in (1, 2) and "triptych: error: [" in self.said

    def __str__(self):
        tail = " | ".join(self.said.strip().splitlines()[-6:])
        return f"exit code {self.code}{', hung' if self.hung else ''}: {tail[-900:]}"


def output_of(folder):
    """The file of what the last call in a folder printed; beside it, so that no fault meets it."""
    return folder.with_name(folder.name + ".output")


def processes_of(mark):
    """Numbers of the live processes that have `mark` in their environment, by their rank (None: mpirun, or no rank)."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            environment = Path("/proc", entry, "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark.encode() in environment:
            rank = [word.split(b"=")[1] for word in environment if word.startswith(b"OMPI_COMM_WORLD_RANK=")]
            found[int(entry)] = int(rank[0]) if rank else None
    return found


def leftover_segments(before):
    """Files in /dev/shm that are new, ours, and mapped by no process. A test beside this one maps what it makes, and
    removes it: only what is so for a second is left."""
    left = unmapped_segments(before)
    if left:
        time.sleep(1)
        left &= unmapped_segments(before)
    return left


def unmapped_segments(before):
    def names():
        found = set()
        for entry in os.scandir("/dev/shm"):
            try:
                if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                    found.add(entry.name)
            except FileNotFoundError:  # of a run that is ending
                continue
        return found
    new = names() - before
    if not new:
        return set()
    used = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                used |= {word.rsplit("/", 1)[1] for word in Path("/proc", entry, "maps").read_text().split()
                         if word.startswith("/dev/shm/")}
            except OSError:
                continue
    return (new - used) & names()


class Program:
    """A run of the program that goes on in the background, in a session of its own."""

    count = 0

    def __init__(self, words, folder, fault=None, shim=None):
        Program.count += 1
        self.mark = f"TRIPTYCH_FAULT_TRIAL={os.getpid()}.{Program.count}.{random.getrandbits(40):x}"
        name, value = self.mark.split("=")
        environment = os.environ | {name: value, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1"}
        if fault:
            environment |= {f"TRIPTYCH_FAULT_{key}": str(setting) for key, setting in fault.items()}
            environment["TRIPTYCH_FAULT_ROOT"] = f"{folder}/"
            environment["LD_PRELOAD"] = str(shim)
        self.output = open(output_of(folder), "w+b")
        self.process = subprocess.Popen(words, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True)

    def rank(self, rank):
        """The number of a rank's process, or None while there is none."""
        return next((number for number, its in processes_of(self.mark).items() if its == rank), None)

    def said(self):
        self.output.seek(0)
        return self.output.read().decode(errors="replace")

    def end(self, limit_s):
        """Waits until the program and all it started have ended; what has not by then hangs, and is killed."""
        until = time.monotonic() + limit_s
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pass
        while (left := processes_of(self.mark)) and time.monotonic() < until:
            time.sleep(0.05)
        for number in left:
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                pass
        code = self.process.wait()
        said = self.said()
        self.output.close()
        return Result(code, said, bool(left))


class Scene:
    """A folder with pictures, a data set, a config, and the program."""

    def __init__(self, folder, triptych, shim):
        self.folder, self.triptych, self.shim = folder, triptych, shim
        (folder / "base").mkdir()
        self.base = folder / "base"
        small_runs.make_data(self.base, lambda *words: subprocess.run(
            [triptych, *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def words(self, *arguments, mesh=None):
        ranks = 1
        for axis, size in (mesh or {}).items():
            ranks *= size
            arguments += ("--set", f"parallel.{axis}={size}")
        start = [str(small_runs.RUN_RANKS), str(ranks)] if ranks > 1 else []
        return start + [str(self.triptych), *map(str, arguments)]

    def train(self, *options, mesh=None, timeout_s=20, **settings):
        settings = {"run.dir": '"run"', "data.path": '"data"', "run.timeout_s": timeout_s} | {
            key.replace("__", "."): value for key, value in settings.items()}
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        return self.words("train", "run.toml", *words, *options, mesh=mesh)

    def start(self, words, folder, fault=None):
        return Program(words, folder, fault, self.shim)

    def call(self, words, folder, fault=None, limit_s=60):
        return self.start(words, folder, fault).end(limit_s)

    def must(self, words, folder, watch=None):
        """A call without a fault, which neither fails nor warns: else a warning would not tell of a fault later."""
        result = self.call(words, folder, watch)
        if result.code != 0 or "warning" in result.said:
            sys.exit(f"faults: [set-up] {words} must succeed without a fault or a warning, found {result}")
        return result

    def copy(self, name, of=None):
        """A new folder with what `of` (the base) has."""
        target = self.folder / name
        shutil.copytree(of or self.base, target, symlinks=True)
        return target


def contents(folder, *patterns):
    """Bytes of the files of a folder that match, by name."""
    return {str(path.relative_to(folder)): path.read_bytes()
            for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()}


def committed_steps(run):
    return sorted(int(path.parent.name[5:]) for path in run.glob("checkpoints/step_*/manifest.json")
                  if path.parent.name[5:].isdigit())


def losses_of(run):
    """Loss by step, as the text that was written: equal text is equal bits. A line that is none is passed over."""
    metrics = run / "metrics.jsonl"
    found = re.findall(rb'^\{"step":(\d+),"loss":([^,]+),', metrics.read_bytes() if metrics.exists() else b"", re.M)
    return {int(step): loss for step, loss in found}


def checkpoints_in(folder, *patterns):
    """The files of checkpoints; what was left lying there is part of them. A manifest has the run's config, with the mesh
    and timeout it was saved with, and how many saves there were before, so its presence counts alone."""
    files = contents(folder, *patterns)
    return {name: "" if name.endswith("manifest.json") else data for name, data in files.items()}


def run_outputs(folder):
    """What a training run gives: its losses, and its checkpoints."""
    return checkpoints_in(folder, "run/checkpoints/**/*") | {"losses": losses_of(folder / "run")}


def differing(found, expected):
    """Names whose contents differ, to be shown."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
