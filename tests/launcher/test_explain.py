#!/usr/bin/python3
"""`triptych explain` of each task that can: its numbers and its page.

usage: test_explain.py TRIPTYCH   the program to test
"""

import json
import math
import re
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
from small_runs import SmallRuns  # noqa: E402  (found beside this file)

BLOCKS = ["image.blocks.0.attention", "image.blocks.1.attention"]


class Explain(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.image = cls.folder / "images" / "3.png"
        (cls.data / "classes.txt").write_text("\n".join(f"kind {number}" for number in range(5)) + "\n")

    def trained(self, task, *settings, **mesh):
        """A trained run of a task, and the words that name it."""
        run = self.folder / "_".join([task, *re.findall(r"\w+", " ".join(settings)), *mesh])
        keys = {"run.dir": f'"{run}"', "data.path": f'"{self.data}"', "checkpoint.every": 2}
        words = [self.folder / f"{task}.toml", *settings]
        for key, value in keys.items():
            words += ["--set", f"{key}={value}"]
        if not run.exists():
            mesh_words = [word for axis, size in mesh.items() for word in ("--set", f"parallel.{axis}={size}")]
            self.program("train", *words, *mesh_words, ranks=math.prod(mesh.values()) if mesh else 1)
        return words

    def explained(self, task, *options, settings=(), **mesh):
        out = self.folder / "explained.json"
        self.output("explain", *self.trained(task, *settings, **mesh), "--image", self.image, "--out", out, *options)
        return json.loads(out.read_text())

    def check_maps(self, maps, side, names):
        self.assertEqual([each["name"] for each in maps], names)
        for each in maps:
            self.assertEqual(len(each["patches"]), side * side)
            self.assertTrue(all(math.isfinite(value) for value in each["patches"]), each)

    def test_a_classifier_shows_heads_rollout_and_relevance(self):
        for pooling, tokens in (("class", 5), ("mean", 4), ("attention", 4)):
            with self.subTest(pooling):
                found = self.explained("classify", settings=("--set", f'model.image.pooling="{pooling}"'))
                self.assertEqual((found["side"], found["size"]), (2, 8))
                pool = ["image.pool"] if pooling == "attention" else []
                self.assertEqual([layer["name"] for layer in found["layers"]], BLOCKS + pool)
                for layer in found["layers"]:
                    self.check_maps(layer["heads"], 2, ["head 0", "head 1"])
                    for head in layer["heads"]:  # weights: all of a row but the class token's own
                        total = sum(head["patches"])
                        self.assertTrue(0 < total < 1 if tokens == 5 else abs(total - 1) < 1e-9, (layer["name"], total))
                self.check_maps(found["maps"], 2, ["rollout", "relevance"])
                rolled = sum(found["maps"][0]["patches"])
                self.assertTrue(0 < rolled < 1 if tokens == 5 else abs(rolled - 1) < 1e-9)
                self.assertTrue(all(value >= 0 for value in found["maps"][1]["patches"]))
                self.assertAlmostEqual(sum(score["value"] for score in found["scores"]), 1, places=6)
                self.assertEqual(found["subject"], f"the class {found['scores'][0]['name']}")
                self.assertIn(found["scores"][0]["name"], [f"kind {number}" for number in range(5)])

    def test_the_class_can_be_chosen(self):
        relevance = [self.explained("classify", "--class", number)["maps"][1]["patches"] for number in (1, 4)]
        self.assertNotEqual(*relevance)
        self.assertEqual(self.explained("classify", "--class", 4)["subject"], "the class kind 4")

    def test_a_text_is_compared_with(self):
        words = self.trained("run")
        out = self.folder / "pair.json"
        self.output("explain", *words, "--image", self.image, "--text", "a red disc", "--out", out)
        found = json.loads(out.read_text())
        self.check_maps(found["maps"], 4, ["rollout", "relevance"])
        hits = self.output("search", *words, "--text", "a red disc", "--top", "22", "--data", self.data).splitlines()[1:]
        of_picture = [float(hit.split()[0]) for hit in hits if "(id 4)" in hit]  # a line's number
        self.assertAlmostEqual(found["scores"][0]["value"], of_picture[0], places=3)
        self.output("explain", *words, "--image", self.image, "--out", out)
        self.check_maps(json.loads(out.read_text())["maps"], 4, ["rollout"])  # nothing to be relevant for

    def test_each_word_of_a_caption_has_a_map(self):
        for task in ("caption", "coca"):
            with self.subTest(task):
                found = self.explained(task, "--text", "a red disc")
                words = [word["name"] for word in found["words"]]
                self.assertTrue("a red disc".startswith(" ".join(words)) and words, words)
                self.check_maps(found["words"], 2, words)
                for word in found["words"]:
                    self.assertAlmostEqual(sum(word["patches"]), 1, places=9)
                written = self.explained(task)
                self.assertEqual(bool(written["text"]), bool(written["words"]))
        self.assertEqual([layer["name"] for layer in found["layers"]], BLOCKS + ["image.head.pool"])

    def test_a_language_model_s_gated_layers_have_a_map_for_each_word(self):
        found = self.explained("language", "--text", "a red disc")
        self.assertTrue(found["words"])
        self.check_maps(found["words"], 2, [word["name"] for word in found["words"]])
        for word in found["words"]:  # all of a row but the class token's
            self.assertTrue(0 < sum(word["patches"]) < 1, word)
        self.assertEqual([gate["name"].rpartition(".")[2] for gate in found["gates"]], ["gate"] * len(found["gates"]))
        written = self.explained("language")
        self.assertEqual(bool(written["text"]), bool(written["words"]))

    def test_any_mesh_s_checkpoint_gives_the_same(self):
        one, mesh = self.explained("classify"), self.explained("classify", pp=2, tp=2)
        for a, b in zip(one["maps"], mesh["maps"]):
            for x, y in zip(a["patches"], b["patches"]):
                self.assertAlmostEqual(x, y, delta=1e-3 * max(map(abs, a["patches"])))

    def test_a_page_shows_it(self):
        out = self.folder / "page.html"
        told = self.output("explain", *self.trained("coca"), "--image", self.image, "--text", "a red disc", "--out", out)
        self.assertIn(str(out), told)
        page = out.read_text("utf-8")
        for part in ("What the model says", "Where it looks for each word", "The heads of each layer", "relevance",
                     "image.blocks.1.attention", "similarity with"):
            self.assertIn(part, page)
        self.assertGreater(page.count("data:image/png;base64,"), 8)

    def test_what_does_not_fit_is_told(self):
        out = self.folder / "bad.json"
        good = ["--image", self.image, "--out", out]
        broken = self.folder / "broken.png"
        broken.write_bytes(self.image.read_bytes()[:200])
        for task, options, told in (
                ("classify", ["--image", self.folder / "none.png", "--out", out], r"--image\] must be a file, found none"),
                ("classify", ["--image", broken, "--out", out], "must be a picture, it cannot be read"),
                ("classify", ["--image", self.image, "--out", "map.png"], r"must be a file .html or .json, found map.png"),
                ("classify", [*good, "--class", "5"], "must be a class of the model, 0 to 4, found 5"),
                ("classify", [*good, "--class", "-1"], "must be a class of the model, 0 to 4, found -1"),
                ("classify", [*good, "--text", "a"], "reads no text"),
                ("caption", [*good, "--class", "1"], "has no classes"),
                ("masked_text", good, "cannot be shown")):
            error = self.program("explain", *self.trained(task), *options, expect=2)
            self.assertRegex(error, told)
            self.assertFalse(out.exists())
        error = self.program("explain", *self.trained("classify"), *good, ranks=2, expect=2)
        self.assertEqual(error.count("triptych: error:"), 1, error)
        self.assertIn("runs on one rank, found 2", error)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
