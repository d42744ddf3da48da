#!/usr/bin/python3
"""The program from raw images to a trained model, on ranks that are processes: resuming on other meshes, a killed
rank, and shards that h5py wrote.

usage: test_training.py TRIPTYCH   the program to test
"""

import os
import re
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from small_runs import REPOSITORY, RUN_RANKS, SmallRuns, draw, losses, ranks_of  # noqa: E402  (found beside this file)

class Training(SmallRuns):
    def test_tells_how_it_goes_once_for_all_ranks(self):
        command = self.command(*self.arguments(self.folder / "told", mesh={"dp": 2}), ranks=2)
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        for part in ("22 samples", "dp 2", "step 1/6", "step 6/6", "samples/s"):
            self.assertEqual(told.count(part) > 0, True, told)
        self.assertEqual(told.count("step_00000006"), 1, told)

    def test_goes_on_on_any_mesh(self):
        expected = losses(self.base)
        self.assertEqual(sorted(expected), list(range(1, 7)))
        for mesh in ({"dp": 2}, {"tp": 2}, {"pp": 2}, {"cp": 2}, {"tp": 2, "pp": 2}):
            with self.subTest(mesh):
                run = self.copy_of_base("-".join(f"{axis}{size}" for axis, size in mesh.items()))
                self.train(run, mesh=mesh, resume="3")
                found = losses(run)
                self.assertEqual(sorted(found), sorted(expected))
                for step in range(1, 4):
                    self.assertEqual(found[step], expected[step])
                for step in range(4, 7):
                    self.assertAlmostEqual(float(found[step]) / float(expected[step]), 1, delta=1e-5)

    def test_a_killed_rank_loses_nothing_that_was_saved(self):
        mesh = {"dp": 2}
        options = {"mesh": mesh, "training__steps": 5000, "optimizer__warmup_steps": 2}
        run = self.folder / "killed"
        with subprocess.Popen(self.command(*self.arguments(run, checkpoint__every=1, checkpoint__keep=2, **options),
                                           ranks=2),
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as mpirun:
            deadline = time.monotonic() + 60
            while not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 5:
                self.assertIsNone(mpirun.poll(), mpirun.stderr.read() if mpirun.poll() is not None else "")
                self.assertLess(time.monotonic(), deadline, "no five steps in a minute")
                time.sleep(0.02)
            os.kill(ranks_of(mpirun.pid)[1], signal.SIGKILL)
            killed = time.monotonic()
            mpirun.communicate(timeout=60)
            self.assertEqual(mpirun.returncode, 128 + signal.SIGKILL)
            self.assertLess(time.monotonic() - killed, 30, "the other rank waited for the dead one")
        latest = int((run / "checkpoints" / "latest").read_text().strip().removeprefix("step_"))
        self.assertGreaterEqual(latest, 4)
        end = latest + 3
        self.train(run, resume="latest", training__stop_after=end, **options)
        whole = self.folder / "uninterrupted"
        self.train(whole, training__stop_after=end, checkpoint__every=0, **options)
        self.assertEqual(losses(run), losses(whole))
        self.assertEqual(len(losses(run)), end)

    def test_trains_on_shards_that_h5py_wrote(self):
        document = (REPOSITORY / "docs" / "shard-format.md").read_text("utf-8")
        example = {}
        exec(re.search(r"```python\n(.*?)```", document, re.S)[1], example)  # defines write_shard
        data = self.folder / "foreign"
        data.mkdir()
        samples = [(100 + number, *draw(number), None) for number in range(13)]
        example["write_shard"](data / "b.h5", "foreign", samples[:6])
        example["write_shard"](data / "a.h5", "foreign", samples[6:])
        self.program("index", data)
        self.program("tokenizer", "train", data, "--vocabulary", "80", "--character-coverage", "1")
        run = self.folder / "on-foreign"
        self.train(run, data=data, training__stop_after=2)
        self.assertEqual(sorted(losses(run)), [1, 2])

    def test_what_cannot_be_is_refused_once_for_all_ranks(self):
        before = losses(self.base)
        for options, says in (({}, "--overwrite"),
                              ({"resume": "latest", "model__text__layers": 1}, "another model"),
                              ({"resume": "latest", "training__global_batch": 4}, "training.global_batch"),
                              ({"resume": "5"}, "step_00000003, step_00000006|3, 6"),
                              ({"data": self.folder / "images"}, "images")):
            for mesh in ({}, {"dp": 2}):
                with self.subTest(says, mesh=mesh):
                    if mesh and "resume" not in options:
                        continue  # what is not about a checkpoint needs no second start
                    error = self.train(self.base, mesh=mesh, expect=2, **options)
                    self.assertRegex(error, says)
                    self.assertEqual(error.count("triptych: error:"), 1, error)
        self.assertEqual(losses(self.base), before)

    def test_ranks_with_different_configs_are_found_before_they_wait_for_each_other(self):
        words = " ".join(f"'{word}'" for word in self.arguments(self.folder / "different", mesh={"dp": 2}))
        script = f"exec {self.triptych} {words} --set optimizer.weight_decay=0.$OMPI_COMM_WORLD_RANK"
        result = subprocess.run([RUN_RANKS, "2", "bash", "-c", script], capture_output=True, text=True, timeout=60,
                                check=False)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("triptych: error:"), 1, result.stderr)
        self.assertRegex(result.stderr,
                         r"every rank must have the same config: rank 0 on \S+ has \w+, rank 1 on \S+ has")

    def test_ranks_that_find_different_schedules_in_a_file_are_found_too(self):
        for rank, order in enumerate(("F0 F1 B0 B1", "F1 F0 B1 B0")):
            host = self.folder / f"host{rank}"
            host.mkdir()
            (host / "order.txt").write_text(f"{order}\n{order}\n")
        words = " ".join(f"'{word}'" for word in ("verify", self.folder / "caption.toml", "--set", "parallel.pp=2",
                                                  "--set", "parallel.microbatches=2", "--set",
                                                  'parallel.schedule="./order.txt"'))
        script = f"cd {self.folder}/host$OMPI_COMM_WORLD_RANK && exec {self.triptych} {words}"
        result = subprocess.run([RUN_RANKS, "2", "bash", "-c", script], capture_output=True, text=True, timeout=60,
                                check=False)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertEqual(result.stderr.count("triptych: error:"), 1, result.stderr)
        self.assertRegex(result.stderr,
                         r"every rank must have the same schedule \(hash\): rank 0 on \S+ has \w+, rank 1 on \S+ has")

    def test_verify_tries_any_two_settings_and_fails_where_one_case_does(self):
        words = ("verify", self.folder / "caption.toml", "--all")
        table = self.output(*words, ranks=2)
        count = len(re.findall(r"^ok .* pp \d dp \d cp \d tp \d  \w+", table, re.M))
        self.assertGreater(count, 20)
        self.assertRegex(table, rf"\n{count} of {count} cases within 1e-05, each of the loss and \d+ gradients; the worst")
        for setting in ("pp 2", "dp 2", "cp 2", "tp 2", "zero 3", "zb_v x 2", "4 microbatches", "recompute full",
                        "sequence_parallel"):
            self.assertIn(f"{setting} ", table.replace("\n", " "))
        self.assertRegex(table, r"left out: what needs more than 2 ranks: \d+ settings and pairs of them")
        part = self.output(*words, "--part", "2/9")
        wanted = re.findall(r"^ok .*", self.output(*words), re.M)[1::9]
        self.assertEqual(re.findall(r"^ok .*", part, re.M), wanted)
        self.assertRegex(part, rf"(?m)^part 2/9: {len(wanted)} of \d+ cases on up to 1 ranks")
        self.assertIn("[--part] must be K/N", self.program(*words, "--part", "9/2", expect=2))
        table = self.output(*words, "--tolerance", "0", expect=1)
        self.assertRegex(table, r"(?m)^BEYOND .*  worst is \w+")
        self.assertRegex(table, r"left out: microbatches|left out: what needs more than 1 ranks")
        self.assertIn("--grid requires --all", self.program("verify", self.folder / "caption.toml", "--grid", "full",
                                                            expect=2))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
