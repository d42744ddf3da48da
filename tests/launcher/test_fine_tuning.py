#!/usr/bin/python3
"""A model that begins with another's parameters, with adapters, merged and evaluated, on ranks that are processes.

usage: test_fine_tuning.py TRIPTYCH   the program to test
"""

import json
import re
import shutil
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)
from small_runs import SmallRuns  # noqa: E402

ADAPTERS = """
[[adapters]]
match = ["*.attention.*.weight", "*.feed_forward.*.weight"]
rank = 2
alpha = 4.0

[[optimizer.groups]]
pattern = "*.adapter.*"

[[optimizer.groups]]
pattern = "classify.head.*"

[[optimizer.groups]]
pattern = "*"
frozen = true
"""


class FineTuning(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        text = re.sub(r"\[model\.text\].*?\n\n", "", small_runs.CONFIG, flags=re.S)
        text = text.replace("embedding = 12", "classes = 5").replace("seed = 3", "seed = 4")
        (cls.folder / "plain.toml").write_text(f'task = "classify"\n{text}')
        (cls.folder / "tuned.toml").write_text(f'include = "plain.toml"\n{ADAPTERS}')

    def said(self, run, *flags, ranks=1, expect=0, **options):
        result = self.run_program(*self.arguments(run, **options), *flags, ranks=ranks, expect=expect)
        return result.stdout + result.stderr

    def settings(self, config, run):
        return [self.folder / config, "--set", f'run.dir="{run}"', "--set", f'data.path="{self.data}"', "--set",
                f'evaluation.sets=["{self.data}"]']

    def table(self, config, run, *flags, ranks=1):
        told = self.output("eval", *self.settings(config, run), *flags, ranks=ranks)
        return told[told.index("\n") + 1 : told.index("report: ")]

    def test_a_tower_becomes_a_classifier_with_adapters_and_then_a_plain_one(self):
        run, merged = self.folder / "tuned", self.folder / "merged"
        told = self.said(run, "--init-from", self.base, config="tuned", mesh={"pp": 2}, ranks=2)
        self.assertIn(f"begins with weights of {self.base}/checkpoints/step_00000006 (step 6)", told)
        self.assertRegex(told, r"taken 28: image\.blocks\.0\.attention\.norm\.bias, .* and 24 more")
        self.assertRegex(told, r"new 20: classify\.head\.bias, ")  # 4 of the head, 2 x 4 pairs
        self.assertRegex(told, r"left \d+: image\.head\.norm\.bias, ")
        record = json.loads((run / "init.json").read_text("utf-8"))
        self.assertEqual(record["taken"]["image.embed.class_token"], "image.embed.class_token")
        self.assertEqual(len(record["new"]), 20)
        self.assertIn("text.embed.tokens.weight", record["left"])

        listed = self.output("inspect", run / "checkpoints", "--tensors")
        self.assertRegex(listed, r"image\.blocks\.1\.attention\.qkv\.weight\.adapter\.b float32 \[3, 24, 2\]\n")
        self.assertNotRegex(listed, r"attention\.qkv\.weight\.first_moment")

        told = self.output("merge", *self.settings("tuned.toml", run), "--out", merged, "--set", "parallel.tp=2", ranks=2)
        self.assertIn(f"8 adapters of {run}/checkpoints/step_00000006 are merged: {merged}/step_00000006", told)
        self.assertNotIn("adapter", self.output("inspect", merged, "--tensors"))
        self.program("inspect", merged, "--verify")
        one = self.table("tuned.toml", run)
        self.assertEqual(self.table("plain.toml", self.folder / "plain", "--checkpoint", merged), one)
        self.assertEqual(self.table("plain.toml", self.folder / "plain", "--checkpoint", merged, ranks=2), one)
        error = self.program("merge", *self.settings("tuned.toml", run), "--out", merged, expect=2)
        self.assertIn("must be a folder without checkpoints", error)
        error = self.program("merge", *self.settings("plain.toml", run), "--out", self.folder / "no", expect=2)
        self.assertIn("nothing to merge without adapters", error)

    def test_what_cannot_be_taken_is_told_once(self):
        for ranks, mesh in ((1, {}), (2, {"pp": 2})):
            error = self.said(self.folder / "no", "--init-from", self.base, config="plain", mesh=mesh, ranks=ranks,
                              expect=2, model__image__width=32)
            self.assertEqual(error.count("triptych: error:"), 1, error)
            self.assertRegex(error, r"image\.embed\.class_token is \[24\] in the checkpoint, .* of the model \[32\]")
        self.assertFalse((self.folder / "no" / "checkpoints").exists())

    def test_a_probe_says_the_same_on_any_number_of_ranks(self):
        words = ("--probe", "--shots", "1,3", "--draws", "4")
        one = self.table("run.toml", self.base, *words)
        for part in ("Linear probe", "22 pictures", "all 22", "1 a class", "3 a class", "chance", "0.2000"):
            self.assertIn(part, one)
        self.assertRegex(one, r"22 pictures\n  all 22 +(1\.0000|0\.[5-9]\d\d\d)")  # what it learned from, in 24 dims
        for ranks in (2, 3):
            self.assertEqual(self.table("run.toml", self.base, *words, ranks=ranks), one)
        error = self.program("eval", *self.settings("run.toml", self.base), "--shots", "1", expect=2)
        self.assertIn("--probe", error)

    def test_another_tokenizer_is_told(self):
        data = self.folder / "other_tokenizer"
        shutil.copytree(self.data, data)
        (data / "tokenizer.model").unlink()
        self.program("tokenizer", "train", data, "--vocabulary", "80", "--character-coverage", "1", "--model", "bpe")
        told = self.said(self.folder / "other", "--init-from", self.base, data=data)
        self.assertIn(f'Set data.tokenizer = "{self.base}/checkpoints/step_00000006/tokenizer.model"', told)
        told = self.said(self.folder / "same", "--init-from", self.base, data=data,
                         data__tokenizer=f'"{self.base}/checkpoints/step_00000006/tokenizer.model"')
        self.assertNotIn("tokenizer is not the one", told)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
