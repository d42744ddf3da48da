"""Calls of the system that fail: each trial repeats one use of the program with one call of it failing, or all from one
on, in a fresh folder, and then without the fault in the same folder.

Whatever fails, the program either reaches the undisturbed result, or ends with an error that says where; committed
steps stay as they were; and the second run reaches the undisturbed result.
"""

import random
import re
import shutil
from dataclasses import dataclass
from typing import Callable

from fault_scene import (ERRORS, LATEST, checkpoints_in, committed_steps, contents, differing, output_of,
                         run_outputs)

LIMIT_S = 60
# Which errors a call can meet in the world.
ACTIONS = {
    "open": ["EIO", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC"],
    "read": ["EIO", "ENOMEM", "EINTR", "short"],
    "write": ["EIO", "ENOSPC", "EINTR", "short"],
    "fsync": ["EIO", "ENOSPC"],
    "rename": ["EIO", "ENOSPC"],
    "ftruncate": ["EIO", "ENOSPC"],
    "mmap": ["ENOMEM"],
}


@dataclass
class Use:
    """A use of the program: `again` is what a person calls after it has failed."""
    name: str
    start: object  # the folder that it begins with
    words: list
    outputs: Callable
    again: Callable


def uses_of(scene):
    train = scene.train(training__steps=6, checkpoint__every=2)
    after_four = scene.copy("after_four")
    scene.must(scene.train(training__steps=6, checkpoint__every=2, training__stop_after=4), after_four)
    resume = scene.train("--resume", "latest", training__steps=6, checkpoint__every=2)
    rotate = scene.train("--resume", "latest", training__steps=6, checkpoint__every=2, checkpoint__keep=1)
    ingest = scene.words("ingest", "pairs", "--images", "images", "--captions", "images/captions.jsonl", "--out",
                         "packed", "--samples-per-shard", "8")
    packed = scene.copy("packed_before")
    scene.must(scene.words("ingest", "pairs", "--images", "images", "--captions", "images/captions.jsonl", "--out",
                           "packed", "--samples-per-shard", "5"), packed)
    tokenizer = scene.words("tokenizer", "train", "data", "--vocabulary", "80", "--character-coverage", "1")
    index = scene.words("index", "data")
    unindexed = scene.copy("unindexed")
    for file in (unindexed / "data").glob("index.*"):
        file.unlink()
    evaluate = scene.words("eval", "run.toml", "--set", 'run.dir="run"', "--set", 'evaluation.sets=["data"]')
    probe = scene.words("eval", "run.toml", "--set", 'run.dir="run"', "--set", 'data.path="data"', "--set",
                        'evaluation.sets=["data"]', "--probe", "--shots", "2", "--draws", "2")
    adapters = 'adapters.0.match=["*.qkv.weight"]'
    adapted = scene.copy("adapted")
    scene.must(scene.train("--set", adapters, training__steps=2, checkpoint__every=2), adapted)
    merge = scene.words("merge", "run.toml", "--set", 'run.dir="run"', "--set", adapters, "--out", "merged")
    clip = ["--set", "model.image.patch_bias=false", "--set", "model.image.input_norm=true", "--set",
            'model.text.attention="causal"']
    clipped, exported = scene.copy("clipped"), scene.copy("exported")
    scene.must(scene.train(*clip, training__steps=2, checkpoint__every=2), clipped)
    export = scene.words("export", "hf", "run", "--out", "theirs", "--max-file-gb", "0.00005")
    shutil.copytree(clipped / "run", exported / "run")
    scene.must(export, exported)
    import_ = scene.words("import", "hf", "theirs", "--out", "imported")
    explain = scene.words("explain", "run.toml", "--set", 'run.dir="run"', "--image", "images/3.png", "--out",
                          "explained.json")

    report = scene.words("report", "run")

    def trained(mesh=None):
        def again(folder):
            started = (folder / LATEST).exists()
            return scene.train(*(["--resume", "latest"] if started else ["--overwrite"]), mesh=mesh, training__steps=6,
                               checkpoint__every=2)
        return again

    def packed_files(folder):
        return contents(folder, "packed*/**/*", ".packed*/**/*")

    def data_files(folder):
        return contents(folder, "data/**/*")

    def explained(folder):
        return contents(folder, "explained.json*")

    def reported(folder):
        return contents(folder, "run/report.html*")

    def merged(folder):
        return checkpoints_in(folder, "merged*/**/*", ".merged*/**/*")

    def imported(folder):
        """The config says where it lies: its presence counts alone."""
        files = checkpoints_in(folder, "imported*/**/*")
        return {name: "" if name.endswith("config.toml") else data for name, data in files.items()}

    def anew(words, out):
        """What is whole, though the folder above could not be flushed, is in the way, and the error says so."""
        def again(folder):
            shutil.rmtree(folder / out, ignore_errors=True)
            return words
        return again

    def printed(folder):
        return {"table": output_of(folder).read_text()}

    def on_ranks(mesh):
        return Use(f"train on 2 ranks, {mesh}", scene.base,
                   scene.train(mesh=mesh, training__steps=6, checkpoint__every=2,
                               data__max_bad_fraction=0.9), run_outputs, trained(mesh))

    return [
        Use("train", scene.base, train, run_outputs, trained()),
        on_ranks({"dp": 2}),
        Use("resume", after_four, resume, run_outputs, lambda folder: resume),
        Use("resume, keep 1", after_four, rotate, run_outputs, lambda folder: rotate),
        Use("ingest", scene.base, ingest, packed_files, lambda folder: ingest),
        Use("ingest anew", packed, ingest, packed_files, lambda folder: ingest),
        Use("tokenizer", scene.base, tokenizer, data_files, lambda folder: tokenizer),
        Use("index", unindexed, index, data_files, lambda folder: index),
        Use("eval", after_four, evaluate, printed, lambda folder: evaluate),
        Use("eval --probe", after_four, probe, printed, lambda folder: probe),
        Use("merge", adapted, merge, merged, lambda folder: merge),
        Use("import", exported, import_, imported, anew(import_, "imported")),
        Use("export", clipped, export, lambda folder: contents(folder, "theirs*/**/*"), anew(export, "theirs")),
        Use("report", after_four, report, reported, lambda folder: report),
        Use("explain", after_four, explain, explained, lambda folder: explain),
        on_ranks({"tp": 2}),
        on_ranks({"pp": 2}),
    ]


class Calls:
    def __init__(self, scene, table, seed):
        self.scene, self.table, self.seed = scene, table, seed
        self.uses = uses_of(scene)
        self.undisturbed = {use.name: self.watch(use) for use in self.uses}

    def watch(self, use):
        """The outputs without a fault, and how often each call is made."""
        folder = self.scene.copy("watch", use.start)
        log = self.scene.folder / "calls.log"
        self.scene.must(use.words, folder, {"LOG": log})
        counts = {}
        for line in log.read_text().splitlines():
            call = line.split(" ", 1)[0]
            counts[call] = counts.get(call, 0) + 1
        log.unlink()
        outputs = use.outputs(folder)
        shutil.rmtree(folder)
        return outputs, counts

    def trial(self, number):
        rng = random.Random(f"{self.seed} call {number}")
        use = self.uses[number % len(self.uses)]
        expected, counts = self.undisturbed[use.name]
        # The rare calls as often as the frequent ones, so that a rename is met as surely as a read.
        call = rng.choice(sorted(counts))
        action = rng.choice(ACTIONS[call])
        ranks = 2 if "2 ranks" in use.name else 1
        fault = {"CALL": call, "AT": rng.randint(1, max(1, counts[call] // ranks)), "ACTION": ERRORS.get(action, action)}
        if action not in ("short", "EINTR") and rng.random() < 0.3:
            fault["REPEAT"] = 1
        if ranks > 1:
            fault["RANK"] = rng.randint(0, 1)
        row = f"{call} fails"
        what = f"trial {number}, {use.name}, {' '.join(map(str, fault.values()))} ({action})"
        fault["LOG"] = self.scene.folder / f"call_{number}.log"
        folder = self.scene.copy(f"call_{number}", use.start)
        before = contents(folder, "run/checkpoints/step_*/*", LATEST)
        result = self.scene.call(use.words, folder, fault, LIMIT_S)
        log = fault["LOG"].read_text()
        hit = re.search("^!.*$", log, re.M)
        fault["LOG"].unlink()
        self.table.tried(row, 1 if hit else 0)  # threads may share their reads otherwise, and one have fewer
        self.judge(row, f"{what} {hit and hit[0]}: {result}", use, result, folder, before)
        shutil.rmtree(folder)

    def judge(self, row, what, use, result, folder, before):
        expected = self.undisturbed[use.name][0]
        if result.hung:
            return self.table.found(row, "hung", what)
        if result.crashed:
            return self.table.found(row, "crashed", what)
        if result.code == 0:
            wrong = differing(use.outputs(folder), expected)
            if wrong and "warning" not in result.said:
                self.table.found(row, "silent", f"{what}; not as undisturbed: {wrong[:4]}")
        elif not result.told:
            self.table.found(row, "untold", what)
        self.check_committed(row, what, use, folder, before)
        if result.code == 0:
            return None
        again = self.scene.call(use.again(folder), folder)
        if again.code != 0:
            return self.table.found(row, "lost", f"{what}; the run after it: {again}")
        wrong = differing(use.outputs(folder), expected)
        # What the program asked to remove by hand was told.
        stayed = all(name not in expected for name in wrong)
        if stayed and "could not commit checkpoint" in result.said:
            # Nothing gives way to a save that failed, and a run that is complete saves no more.
            wrong = [name for name in wrong if not name.startswith("run/checkpoints/step_")]
        if wrong and not (stayed and "Remove it by hand" in result.said):
            self.table.found(row, "left" if stayed else "lost", f"{what}; after another run not as undisturbed: {wrong[:4]}")
        return None

    def check_committed(self, row, what, use, folder, before):
        if not before:
            return
        after = contents(folder, "run/checkpoints/step_*/*", LATEST)
        latest = after.get(LATEST, b"").decode().strip()
        if not latest.startswith("step_") or int(latest[5:]) not in committed_steps(folder / "run"):
            self.table.found(row, "lost", f"{what}; latest names {latest!r}")
        if use.name == "resume, keep 1":
            return
        lost = [name for name, data in before.items() if name != LATEST and after.get(name) != data]
        if lost:
            self.table.found(row, "lost", f"{what}; no more as they were: {lost[:4]}")
