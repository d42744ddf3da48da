#!/usr/bin/python3
"""A program with a task of its own, which the sources do not know, from pictures to a report.

usage: test_rotation.py TRIPTYCH_WITH_ROTATION
"""

import io
import re
import sys
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)
from small_runs import SmallRuns, losses  # noqa: E402

CONFIG = """
task = "rotation"

[run]
seed = 3
threads = 1
timeout_s = 60

[model.image]
size = 12
patch = 4
width = 24
layers = 2
heads = 2
feed_forward = 36

[training]
steps = 40
global_batch = 20

[optimizer]
learning_rate = 3e-3
warmup_steps = 5

[evaluation]
batch = 7
"""


class Rotation(SmallRuns):
    @classmethod
    def setUpClass(cls):
        small_runs.CONFIG = CONFIG
        small_runs.draw = cls.draw
        super().setUpClass()

    @staticmethod
    def draw(number):
        """Light from above, with noise: which way a picture is up can be seen."""
        rng = np.random.default_rng(number)
        light = np.linspace(200, 40, 20)[:, None, None] + rng.integers(-30, 30, (20, 22, 3))
        buffer = io.BytesIO()
        Image.fromarray(light.astype(np.uint8)).save(buffer, "PNG" if number % 2 else "JPEG")
        return buffer.getvalue(), ["light from above"]

    def test_learns_and_two_ranks_learn_the_same(self):
        one = losses(self.base)
        first, last = ([float(one[step]) for step in steps] for steps in (range(1, 6), range(36, 41)))
        self.assertLess(np.mean(last), 0.6 * np.mean(first))
        run = self.folder / "two"
        self.train(run, mesh={"dp": 2})
        two = losses(run)
        for step in one:
            self.assertAlmostEqual(float(two[step]), float(one[step]), delta=1e-4)

    def test_a_step_on_a_mesh_is_that_of_one_rank(self):
        self.program("verify", self.folder / "run.toml", "--set", "parallel.pp=2", "--set", "parallel.tp=2", "--set",
                     "model.dropout=0.1", ranks=4)

    def test_evaluation_shows_its_table_and_panel(self):
        tables = []
        for ranks in (1, 2):
            told = self.output("eval", self.folder / "run.toml", "--set", f'run.dir="{self.base}"', "--set",
                               f'evaluation.sets=["{self.data}"]', ranks=ranks)
            tables.append(re.sub(r"report: .*", "", told))
        self.assertEqual(tables[0], tables[1])
        self.assertIn("Accuracy", tables[0])
        self.assertIn("22 pictures", tables[0])
        accuracy, chance = map(float, re.findall(r"\b[01]\.\d{4}\b", tables[0].split("\nLoss\n")[0]))
        self.assertGreater(accuracy, 0.6)
        self.assertEqual(chance, 0.25)
        report = (self.base / "report.html").read_text("utf-8")
        self.assertIn("Rotation", report)
        self.assertIn("whose turn is recognised", report)

    def test_its_keys_are_documented_beside_those_of_the_other_tasks(self):
        document = self.output("config", "document")
        self.assertIn('# `task = "rotation"`', document)
        self.assertIn('# `task = "coca"`', document)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
