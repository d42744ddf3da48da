"""Ranks that are killed, and ranks that are stopped.

A kill: a run of two ranks that saves every few steps goes on from one kill to the next. A rank or mpirun is killed at a
random moment, when a checkpoint's folder has just appeared, or at a random call of the system while saving. Then all
must end, the newest checkpoint must be sound and no older than before, and the next start must go on from it; the losses
are those of a run that nobody disturbed, to the bit.

A stop: a rank gets SIGSTOP in a given phase and never goes on. The others must end within run.timeout_s + 5 s, and say
which rank did not come.
"""

import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

from fault_scene import LATEST, committed_steps, leftover_segments, losses_of, processes_of

TIMEOUT_S = 4
END_S = TIMEOUT_S + 5
MESHES = [{"dp": 2}, {"tp": 2}, {"pp": 2}]
STEPS = 120  # of an undisturbed run; a killed one begins anew when it has come so far


def segments():
    return {entry.name for entry in os.scandir("/dev/shm")}


def mpirun_of(program):
    """The number of mpirun's process, or None while there is none."""
    for number in processes_of(program.mark):
        try:
            if Path(f"/proc/{number}/comm").read_text().strip() in ("mpirun", "orterun"):
                return number
        except OSError:
            continue
    return None


def victim_of(program, victim):
    """The number of the victim's process, as soon as there is one; None if the program ends before."""
    while program.process.poll() is None:
        number = mpirun_of(program) if victim == "mpirun" else program.rank(int(victim[-1]))
        if number is not None:
            return number
        time.sleep(0.01)
    return None


class Chain:
    """One run on one mesh that is killed again and again."""

    def __init__(self, scene, table, mesh):
        self.scene, self.table, self.mesh = scene, table, mesh
        self.name = "_".join(f"{axis}{size}" for axis, size in mesh.items())
        whole = scene.copy(f"whole_{self.name}")
        scene.must(self.words(), whole)
        self.losses = losses_of(whole / "run")
        shutil.rmtree(whole)
        self.folder = None

    def words(self, *options):
        return self.scene.train(*options, mesh=self.mesh, timeout_s=TIMEOUT_S, training__steps=STEPS,
                                checkpoint__every=6, checkpoint__keep=2)

    def resume_words(self):
        started = (self.folder / LATEST).exists()
        return self.words(*(["--resume", "latest"] if started else ["--overwrite"]))

    def latest(self):
        try:
            return int((self.folder / LATEST).read_text().strip()[5:])
        except OSError:
            return 0

    def kill(self, number, rng):
        if self.folder is None:
            self.folder = self.scene.copy(f"killed_{self.name}_{number}")
        how = ("moment", "save", "call")[number % 3]
        victim = rng.choice(["rank 0", "rank 1", "mpirun"]) if how != "call" else f"rank {rng.randint(0, 1)}"
        row = {"moment": "kill -9 {} at a random moment", "save": "kill -9 {} when a save begins",
               "call": "kill -9 {} at a call of a save"}[how].format(victim)
        self.table.tried(row)
        before, steps_before, segments_before = self.latest(), committed_steps(self.folder / "run"), segments()
        openmpi_cleans = True
        fault = {"CALL": rng.choice(["write", "fsync", "rename", "open"]), "AT": rng.randint(1, 40), "ACTION": "kill",
                 "MATCH": "/checkpoints/", "RANK": victim[-1]} if how == "call" else None
        what = f"trial {number}, {self.name}, from step {before}, {fault or ''}"
        program = self.scene.start(self.resume_words(), self.folder, fault)
        committed = before
        if how != "call":
            committed = self.wait(program, how, rng)
            target = victim_of(program, victim)
            # Where mpirun is what was started, nobody is left who could tidy up after Open MPI.
            openmpi_cleans = target != program.process.pid
            committed = max(committed, self.latest())
            if target is not None and program.process.poll() is None:
                os.kill(target, signal.SIGKILL)
        result = program.end(END_S + 20 if how == "call" else END_S)
        self.judge(row, f"{what}: {result}", result, before, steps_before, committed, segments_before,
                   openmpi_cleans)

    def wait(self, program, how, rng):
        """Until the moment of the kill; the newest checkpoint that was seen before."""
        until = time.monotonic() + (rng.uniform(0, 2.5) if how == "moment" else 20)
        seen, unfinished = self.latest(), self.unfinished()
        while time.monotonic() < until and program.process.poll() is None:
            seen = max(seen, self.latest())
            if how == "save" and self.unfinished() - unfinished:
                time.sleep(rng.choice([0, 0.001, 0.005, 0.02, 0.05]))
                break
            time.sleep(0.001)
        return seen

    def unfinished(self):
        """The folders of checkpoints that are being made, or that a kill has left."""
        found = set()
        for path in (self.folder / "run" / "checkpoints").glob("*.tmp"):
            try:
                found.add(path.stat().st_ino)
            except FileNotFoundError:
                continue
        return found

    def judge(self, row, what, result, before, steps_before, committed, segments_before, openmpi_cleans):
        if result.hung:
            self.table.found(row, "hung", what)
        # A start that ends by itself before its kill is a run that could not go on, or is complete.
        if "triptych: error: [" in result.said and re.search(r"error: \[[^\]]*(checkpoints|run|lock)[^\]]*\]", result.said):
            self.table.found(row, "lost", f"{what}; it could not go on")
        # A kill between the two renames of a save leaves a checkpoint that is whole and one newer than `latest` says.
        begun = re.search(r"steps (\d+) to", result.said)
        if begun and before and int(begun[1]) - 1 not in {before, *(step for step in steps_before if step > before)}:
            self.table.found(row, "lost", f"{what}; went on from {begun[1]}, saved were {steps_before}, latest {before}")
        if self.latest() < committed:
            self.table.found(row, "lost", f"{what}; latest is {self.latest()}, was {committed}")
        if self.latest() and self.latest() not in committed_steps(self.folder / "run"):
            self.table.found(row, "lost", f"{what}; latest names {self.latest()}, there are {committed_steps(self.folder / 'run')}")
        if self.latest():
            check = self.scene.call(self.scene.words("inspect", "run/checkpoints/latest", "--verify"), self.folder)
            if check.code != 0:
                self.table.found(row, "lost", f"{what}; inspect: {check}")
        metrics = self.folder / "run" / "metrics.jsonl"
        if metrics.exists():
            wrong = [step for step, loss in losses_of(self.folder / "run").items() if self.losses[step] != loss]
            if wrong:
                self.table.found(row, "silent", f"{what}; other losses at steps {wrong[:5]}")
        left = {name for name in leftover_segments(segments_before) if openmpi_cleans or "triptych" in name}
        if left:
            self.table.found(row, "left", f"{what}; in /dev/shm: {sorted(left)[:3]}")
        if result.code == 0:
            self.finish()

    def finish(self):
        """Runs to the end: all losses are the undisturbed ones'."""
        if self.folder is None:
            return
        row = "a run after its kills"
        self.table.tried(row)
        result = self.scene.call(self.resume_words(), self.folder, limit_s=120)
        if result.code != 0:
            self.table.found(row, "lost", f"{self.name}: {result}")
        elif losses_of(self.folder / "run") != self.losses:
            self.table.found(row, "silent", f"{self.name}: other losses than undisturbed")
        shutil.rmtree(self.folder)
        self.folder = None


def kill_ranks(scene, table, times, seed):
    # Each needs an undisturbed run first, so few kills are all of one.
    chains = [Chain(scene, table, mesh) for mesh in MESHES[:1 + times // 30]]
    for number in range(times):
        chains[number // 3 % len(chains)].kill(number, random.Random(f"{seed} kill {number}"))
    for chain in chains:
        chain.finish()


# A phase: the call at which the rank stops itself; without one, it is stopped from outside amid its steps.
PHASES = {
    "set-up": {"CALL": "open", "MATCH": "/data/index.json", "AT": 1},
    "loader": {"CALL": "read", "MATCH": "/data/shard_", "AT": 80},  # the first dozen are the set-up's, for hashes
    "step": None,
    "save": {"CALL": "write", "MATCH": "/checkpoints/", "AT": 1},
    "evaluation": {"CALL": "read", "MATCH": "/data/shard_", "AT": 20},
}


# What a rank says that it does then. A loader's thread reads ahead, while the rank is at an earlier step.
DOING = {
    "set-up": "setting up",
    "loader": r"(setting up|(the batch of )?step \d+|saving step \d+)",
    "step": r"(the batch of )?step \d+",
    "save": r"saving step \d+",
    "evaluation": "evaluation",
}


def stop_ranks(scene, table, times, seed):
    trials = [(phase, rank, mesh) for mesh in MESHES for phase in PHASES for rank in (0, 1)]
    if times < len(trials):
        # The phases first, then the rest.
        trials = random.Random(f"{seed} stop").sample(trials, times)
    for number in range(times):
        phase, rank, mesh = trials[number % len(trials)]
        stop_rank(scene, table, number, phase, rank, mesh)


def stop_rank(scene, table, number, phase, rank, mesh):
    row = f"SIGSTOP of rank {rank}: {phase}"
    folder = scene.copy(f"stopped_{number}")
    settings = {"timeout_s": TIMEOUT_S, "training__steps": 100000, "checkpoint__every": 0 if phase == "step" else 4}
    if phase == "evaluation":
        scene.must(scene.train(training__steps=100000, training__stop_after=2), folder)
        words = scene.words("eval", "run.toml", "--set", 'run.dir="run"', "--set", 'evaluation.sets=["data"]', "--set",
                            f"run.timeout_s={TIMEOUT_S}", mesh=mesh)
    else:
        words = scene.train(mesh=mesh, **settings)
    before, fault = segments(), PHASES[phase]
    program = scene.start(words, folder, fault and fault | {"ACTION": "stop", "RANK": rank})
    stopped = wait_for_stop(program, rank, folder if fault is None else None)
    table.tried(row, 1 if stopped else 0)  # a rank that has not met the call has no fault: a stage without images, say
    begin = time.monotonic()
    result = program.end(END_S if stopped else 0)
    what = f"{mesh}: after {time.monotonic() - begin:.1f} s {result}"
    if stopped:
        judge_stop(table, row, what, result, rank, DOING[phase])
        left = leftover_segments(before)
        if left:
            table.found(row, "left", f"{what}; in /dev/shm: {sorted(left)[:3]}")
        if (folder / LATEST).exists():
            steps = committed_steps(folder / "run")
            again = scene.call(scene.train("--resume", "latest", mesh=mesh, training__steps=100000,
                                           training__stop_after=steps[-1] + 2), folder)
            if again.code != 0:
                table.found(row, "lost", f"{what}; the run after it: {again}")
    shutil.rmtree(folder)


def wait_for_stop(program, rank, stepping):
    """Until the rank is stopped: by itself, or by us once the run in `stepping` has done some steps."""
    until = time.monotonic() + 20
    while time.monotonic() < until and program.process.poll() is None:
        number = program.rank(rank)
        if number is not None and stepping is not None:
            metrics = stepping / "run" / "metrics.jsonl"
            if metrics.exists() and metrics.read_bytes().count(b"\n") > 20:
                os.kill(number, signal.SIGSTOP)
                return True
        elif number is not None:
            try:
                with open(f"/proc/{number}/stat", encoding="ascii", errors="replace") as stat:
                    if stat.read().rsplit(")", 1)[1].split()[0] == "T":
                        return True
            except OSError:
                pass
        time.sleep(0.02)
    return False


def judge_stop(table, row, what, result, rank, doing):
    if result.hung:
        table.found(row, "hung", what)
    if result.code == 0:
        table.found(row, "silent", what)
    # One rank says at which collective it waited, which rank is missing, and what that one was doing.
    elif result.said.count("triptych: error: ") != 1 or not re.search(
            rf"triptych: error: \[.*number \d+, \w+\(.*No answer from rank {rank} on \S+ \(its process \d+ is stopped by a "
            rf"signal, it was doing: {doing}\).*\(\S+, rank {1 - rank}/2\)", result.said):
        table.found(row, "untold", what)
