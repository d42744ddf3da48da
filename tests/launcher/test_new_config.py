#!/usr/bin/python3
"""`triptych config new` writes configs that training takes as they are, for each task that a data set can serve.

usage: test_new_config.py TRIPTYCH
"""

import re
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)
from small_runs import SCENE_TASKS, SmallRuns, losses, make_data, make_scenes  # noqa: E402

TASKS = ("contrastive", *small_runs.TASKS)


class NewConfig(SmallRuns):
    @classmethod
    def setUpClass(cls):
        cls.scratch = small_runs.tempfile.TemporaryDirectory(prefix="triptych_new_config_")
        cls.folder = Path(cls.scratch.name)
        make_data(cls.folder, cls.program)
        make_scenes(cls.folder, cls.program)
        cls.data = cls.folder / "data"

    def new(self, task, *more, data=None, expect=0):
        return self.run_program("config", "new", "--task", task, "--data", data or self.data_of(task), *more, expect=expect)

    def test_every_task_trains_a_step_with_it(self):
        self.assertEqual(len(TASKS), len(re.findall(r'^# `task = ', self.output("config", "document"), re.MULTILINE)))
        for task in TASKS:
            with self.subTest(task):
                config, run = self.folder / f"new_{task}.toml", self.folder / f"run_{task}"
                told = self.new(task, "--run-dir", run, "--out", config).stdout
                self.assertIn(f"triptych train {config}", told)
                self.output("train", config, "--set", "training.stop_after=1")
                self.assertEqual(list(losses(run)), [1])
                # Complete: with every key there, nothing is left to a default.
                keys = set(re.findall(r"^(\w+) = ", config.read_text("utf-8"), re.MULTILINE))
                self.assertLessEqual({"seed", "global_batch", "learning_rate", "max_bad_fraction"}, keys)
                self.assertEqual(config.read_text("utf-8").split("\n\n", 1)[1], self.output("config", "check", config))

    def test_values_are_those_of_the_data_set(self):
        text = self.new("contrastive").stdout
        value = lambda section, key: re.search(rf"^\[{section}\]\n(?:[^\[]*\n)?{key} = (.*)$", text, re.MULTILINE)[1]  # noqa: E731
        self.assertIn("22 samples, 22 with an image, 22 with captions, 0 with questions, 22 with labels,\n# 0 with boxes", text)
        self.assertEqual(value("model.image", "size"), "16")  # its pictures are 18 to 22 pixels high
        self.assertEqual(value("model.image", "patch"), "4")
        pieces = int(re.search(r"the tokenizer has (\d+) pieces", text)[1])
        self.assertEqual(value("model.text", "vocabulary"), str((pieces + 1 + 63) // 64 * 64))
        self.assertEqual(value("training", "global_batch"), "8")  # at most half of 22
        self.assertEqual(value("data", "path"), f'"{self.data}"')
        (self.folder / "values.toml").write_text(text)
        for rows, code in ((pieces, 0), (pieces - 1, 2)):  # it does have so many
            self.output("train", self.folder / "values.toml", "--set", "training.stop_after=1", "--set",
                        f"model.text.vocabulary={rows}", "--set", f'run.dir="{self.folder}/of_{rows}"', expect=code)
        self.assertRegex(self.new("classify").stdout, r"\nclasses = 5\n")
        self.assertRegex(self.new("detect").stdout, r"\nclasses = 4\n")

    def test_what_a_data_set_cannot_serve_is_refused(self):
        told = self.new("detect", data=self.data, expect=2).stderr
        self.assertIn("boxes", told)
        self.assertIn("contrastive", self.new("contrastiv", expect=2).stderr)
        bare = self.folder / "bare"
        small_runs.shutil.copytree(self.data, bare)
        (bare / "tokenizer.model").unlink()
        self.assertIn(f"triptych tokenizer train {bare}", self.new("contrastive", data=bare, expect=2).stderr)
        self.assertIn("classes = ", self.new("classify", data=bare).stdout)  # it reads no text
        self.new("contrastive", data=self.folder / "nothing", expect=2)

    def test_no_file_is_replaced(self):
        file = self.folder / "mine.toml"
        file.write_text("mine")
        self.assertIn("not replaced", self.new("classify", "--out", file, expect=2).stderr)
        self.assertEqual(file.read_text(), "mine")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
