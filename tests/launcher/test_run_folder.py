#!/usr/bin/python3
"""What a run does in its folder: it replaces nothing that is not its own, lets no other run in, and goes on only as it
was told.

usage: test_run_folder.py TRIPTYCH   the program to test
"""

import json
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from small_runs import SmallRuns, losses  # noqa: E402  (found beside this file)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class RunFolder(SmallRuns):
    def go(self, run, *flags, expect=0, ranks=1, **options):
        """What the program says, all of it."""
        result = self.run_program(*self.arguments(run, **options), *flags, ranks=ranks, expect=expect)
        said = result.stdout + result.stderr
        self.assertEqual(said.count("triptych: error:"), 1 if expect else 0, said)
        return said

    def start(self, run, **options):
        """A long run that has made its first steps."""
        process = subprocess.Popen(self.command(*self.arguments(run, training__steps=2_000_000, **options)),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 4:
            self.assertIsNone(process.poll(), process.stderr.read() if process.poll() is not None else "")
            self.assertLess(time.monotonic(), deadline, "no four steps in a minute")
            time.sleep(0.02)
        return process

    # ---- what is not ours stays

    def test_nothing_of_somebody_is_replaced_or_removed(self):
        run = self.folder / "project"
        (run / "checkpoints" / "openclip").mkdir(parents=True)
        for name, text in (("checkpoints/openclip/epoch_32.pt", "weights"), ("notes.txt", "mine"),
                           ("config.toml", "my own config"), ("metrics.jsonl", '{"not": "ours"}\n'),
                           ("report.html", "hello")):
            (run / name).write_text(text)
        before = files_of(run)
        for flags in ([], ["--overwrite"]):
            said = self.go(run, *flags, expect=2)
            for part in ("config.toml", "metrics.jsonl", "report.html", "Move that away"):
                self.assertIn(part, said)
            self.assertEqual(files_of(run), before)
        # Evaluation writes a report too.
        said = self.run_program("eval", self.folder / "run.toml", "--set", f'run.dir="{run}"', "--set",
                                f'evaluation.sets=["{self.data}"]', "--checkpoint", self.base / "checkpoints",
                                expect=2).stderr
        self.assertIn("report.html", said)
        for name in ("config.toml", "metrics.jsonl", "report.html"):
            (run / name).unlink()
        self.go(run, training__stop_after=1)  # in its way is nothing now
        self.assertEqual((run / "checkpoints/openclip/epoch_32.pt").read_text(), "weights")
        self.assertEqual((run / "notes.txt").read_text(), "mine")

    def test_overwrite_replaces_the_run_and_leaves_what_was_kept(self):
        run = self.copy_of_base("overwritten")
        (run / "checkpoints/step_00000003").rename(run / "checkpoints/best")
        kept = files_of(run / "checkpoints/best")
        self.assertIn("holds a run already", self.go(run, expect=2))
        shutil.rmtree(run / "checkpoints/step_00000006")
        (run / "checkpoints/latest").unlink()
        self.assertIn("best", self.go(run, expect=2))
        self.go(run, "--overwrite", training__stop_after=2)
        self.assertEqual(sorted(path.name for path in (run / "checkpoints").iterdir()),
                         ["best", "latest", "step_00000002"])
        self.assertEqual(files_of(run / "checkpoints/best"), kept)
        self.assertEqual(sorted(losses(run)), [1, 2])

    def test_checkpoints_may_be_a_link_to_a_large_disk(self):
        run, disk = self.folder / "linked", self.folder / "disk"
        run.mkdir()
        disk.mkdir()
        (run / "checkpoints").symlink_to(disk)
        self.go(run, training__stop_after=3)
        self.go(run, resume="latest")
        self.go(run, "--overwrite", training__stop_after=2)
        self.assertTrue((run / "checkpoints").is_symlink())
        self.assertEqual(sorted(path.name for path in disk.iterdir()), ["latest", "step_00000002"])

    # ---- one run at a time

    def test_a_second_run_is_refused_and_the_first_loses_nothing(self):
        run = self.folder / "shared"
        self.go(run, training__steps=2_000_000, training__stop_after=3)
        process = self.start(run, resume="latest", checkpoint__every=0)
        try:
            for options in ({"run__seed": 4}, {"resume": "latest"}, {"resume": "auto"}):
                said = self.go(run, expect=2, training__steps=2_000_000, **options)
                self.assertIn(f"another run is at work in this folder (process {process.pid} on ", said)
            said = self.go(run, "--overwrite", expect=2)
            self.assertIn("another run is at work", said)
            self.assertIsNone(process.poll())
        finally:
            process.kill()
            process.wait()
        # Killed by force: the next goes on at once, and says so.
        said = self.go(run, resume="latest", training__steps=2_000_000, training__stop_after=9)
        self.assertIn("its lock is taken over", said)
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(steps, list(range(1, 10)))
        self.assertFalse((run / "run.lock").exists())

    def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(self):
        run = self.folder / "young"
        process = self.start(run, checkpoint__every=0)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.go(run, training__stop_after=2)
        self.assertEqual(sorted(losses(run)), [1, 2])

    # ---- going on

    def test_what_learns_otherwise_needs_to_be_said_and_leaves_a_record(self):
        run = self.copy_of_base("changed")
        first = (run / "config.toml").read_text()
        before = files_of(run)
        said = self.go(run, expect=2, resume="3", optimizer__learning_rate=5e-3, optimizer__weight_decay=0)
        for part in ("optimizer.learning_rate: 0.002 -> 0.005", "optimizer.weight_decay: 0.1 -> 0.0",
                     "--allow-change optimizer.learning_rate --allow-change optimizer.weight_decay"):
            self.assertIn(part, said)
        self.assertEqual(files_of(run), before)
        said = self.go(run, "--allow-change", "optimizer.learning_rate", resume="3", optimizer__learning_rate=5e-3,
                       run__threads=2)
        for part in ("optimizer.learning_rate: 0.002 -> 0.005 (learns otherwise from here on)", "run.threads: 1 -> 2",
                     "config_to_step_00000003.toml"):
            self.assertIn(part, said)
        self.assertEqual((run / "config_to_step_00000003.toml").read_text(), first)
        self.assertIn("learning_rate = 0.005", (run / "config.toml").read_text())
        self.assertEqual({step: losses(run)[step] for step in (1, 2, 3)},
                         {step: losses(self.base)[step] for step in (1, 2, 3)})

    def test_what_would_be_another_run_is_refused(self):
        run = self.copy_of_base("refused")
        before = files_of(run)
        for options, part in (({"run__seed": 9}, "run.seed = 3, the config says 9"),
                              ({"training__global_batch": 16}, "training.global_batch = 8, the config says 16"),
                              ({"model__text__layers": 1}, "another model")):
            for flags in ([], ["--allow-change", list(options)[0].replace("__", ".")]):
                self.assertIn(part, self.go(run, *flags, expect=2, resume="3", **options))
        self.assertEqual(files_of(run), before)

    def test_the_end_is_told_and_what_lies_before_the_checkpoint_is_an_error(self):
        run = self.copy_of_base("ended")
        before = files_of(run)
        self.assertIn("step 6 is done: the run is complete", self.go(run, resume="latest"))
        self.assertIn("step 3 is done: the run is complete", self.go(run, resume="3", training__steps=3))
        self.assertIn("is at step 6, beyond the 4 where the run is to stop (training.steps)",
                      self.go(run, expect=2, resume="latest", training__steps=4))
        self.assertEqual(files_of(run), before)

    def test_other_data_of_the_same_size_and_captions_are_refused(self):
        images = self.folder / "other_images"
        shutil.copytree(self.folder / "images", images)
        shutil.copy(images / "1.png", images / "3.png")
        other = self.folder / "other_data"
        self.program("ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out", other,
                     "--samples-per-shard", "8")
        shutil.copy(self.data / "tokenizer.model", other)
        ids = {json.loads((folder / "index.json").read_text())["data_set_id"] for folder in (self.data, other)}
        self.assertEqual(len(ids), 1, "the id does not tell them apart")
        run = self.copy_of_base("other_data_run")
        self.assertIn("learned from another data set", self.go(run, expect=2, resume="3", data=other))
        # The same samples in other shards are the same data.
        again = self.folder / "same_data"
        self.program("ingest", "pairs", "--images", self.folder / "images", "--captions",
                     self.folder / "images" / "captions.jsonl", "--out", again, "--samples-per-shard", "5")
        said = self.go(run, resume="3", data=again)
        self.assertIn("data.path", said)
        self.assertEqual(losses(run), losses(self.base))

    def test_auto_passes_over_what_is_damaged_and_begins_where_nothing_is(self):
        run = self.folder / "auto"
        self.go(run, resume="auto")
        self.assertEqual(losses(run), losses(self.base))
        newest = run / "checkpoints/step_00000006/rank_00000.safetensors"
        data = newest.read_bytes()
        newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        said = self.go(run, resume="auto", ranks=2, mesh={"dp": 2})
        self.assertIn("a damaged checkpoint is passed over", said)
        self.assertIn("step_00000003; its config was another", said)
        self.assertIn("parallel.dp: 1 -> 2", said)
        self.assertEqual(json.loads((run / "checkpoints/step_00000006/manifest.json").read_text())["world_size"], 2)

    def test_another_folder_goes_on_from_a_checkpoint_of_its_own(self):
        run = self.folder / "branch"
        self.go(run, resume=str(self.base / "checkpoints" / "step_00000003"))
        self.assertEqual(losses(run), {step: losses(self.base)[step] for step in (4, 5, 6)})
        identity = json.loads((run / "run.json").read_text())
        self.assertEqual(identity["parent"], str(self.base / "checkpoints" / "step_00000003"))
        self.assertNotEqual(identity["run_id"], json.loads((self.base / "run.json").read_text())["run_id"])
        # Not into the middle of a third run.
        other = self.copy_of_base("third")
        before = files_of(other)
        said = self.go(other, expect=2, resume=str(run / "checkpoints" / "step_00000006"), training__steps=9)
        self.assertIn("holds a run already", said)
        self.assertEqual(files_of(other), before)

    def test_a_run_of_before_there_was_an_identity_goes_on(self):
        run = self.copy_of_base("old")
        (run / "run.json").unlink()
        self.go(run, resume="3")
        self.assertEqual(losses(run), losses(self.base))
        self.assertTrue((run / "run.json").exists())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
