#!/usr/bin/python3
"""`triptych eval` and `triptych search` of each task, on any number of ranks.

usage: test_evaluation.py TRIPTYCH   the program to test
"""

import html
import json
import re
import shutil
import sys
import unittest
from pathlib import Path

import numpy as np

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)
from small_runs import SmallRuns  # noqa: E402

CLASSES = ["square", "disc", "cross"]


class Evaluation(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The same pictures with the classes of what is on them.
        images = cls.folder / "images"
        with open(images / "labels.jsonl", "w", encoding="utf-8") as lines:
            for number in range(22):
                name = f"{number}.{'png' if number % 2 else 'jpg'}"
                line = {"image": name, "captions": small_runs.draw(number)[1], "label": number % 3}
                lines.write(json.dumps(line) + "\n")
        cls.labelled = cls.folder / "labelled"
        cls.program("ingest", "pairs", "--images", images, "--captions", images / "labels.jsonl", "--out", cls.labelled)
        (cls.labelled / "classes.txt").write_text("\n".join(CLASSES) + "\n")
        shutil.copy(cls.data / "tokenizer.model", cls.labelled)

    @classmethod
    def config(cls, task):
        """The small run's config as another task's: without the sections that it does not have."""
        text = small_runs.TASKS[task] if task.startswith("masked_") else small_runs.CONFIG
        if task == "classify":
            text = re.sub(r"\[model\.text\].*?\n\n", "", text, flags=re.S)
            text = text.replace("embedding = 12", "classes = 3")
        if task in ("caption", "language"):
            text = text.replace("embedding = 12\n", "")
        if task == "language":
            text += '\n[model.connector]\nkind = "mlp"\n\n[decoding]\nmethods = ["greedy", "beam", "nucleus"]\n'
        if task == "align":
            text = text.replace("vocabulary = 80", "vocabulary = 82")  # with the mask token
            text += "\n[model.fusion]\nwidth = 20\nlayers = 1\nheads = 2\nfeed_forward = 30\n"
        path = cls.folder / f"{task}.toml"
        path.write_text(f'task = "{task}"\n' + text)
        return path

    def trained(self, task):
        config, run = self.config(task), self.folder / task
        settings = ["--set", f'run.dir="{run}"', "--set", f'data.path="{self.labelled}"']
        if not run.exists():
            self.program("train", config, *settings)
        return [config, *settings, "--set", f'evaluation.sets=["{self.data}", "{self.labelled}"]']

    def tables(self, task, *options, ranks=1):
        told = self.output("eval", *self.trained(task), *options, ranks=ranks)
        return told[told.index("\n") + 1 : told.index("report: ")]

    def test_any_number_of_ranks_prints_the_same_table(self):
        for task, parts in (("contrastive", ("Retrieval", "text to image", "44 queries", "22 queries")),
                            ("caption", ("Captions", "chrF", "22 pictures")),
                            ("coca", ("Retrieval", "Captions")),
                            ("language", ("Perplexity", "token frequencies", "BLEU", "CIDEr-D", "model, nucleus",
                                          "model, text only", "model, nucleus, text only")),
                            ("align", ("Retrieval", "Matching", "Masked tokens", "model, text only")),
                            ("masked_image", ("Reconstruction", "each patch's mean", "66 masked patches")),
                            ("masked_text", ("Masked tokens", "the most frequent token", "44 tokens"))):
            with self.subTest(task):
                one = self.tables(task)
                for part in (*parts, "data", "labelled"):
                    self.assertIn(part, one)
                for ranks in (2, 3):
                    self.assertEqual(self.tables(task, ranks=ranks), one)

    def test_classes_are_measured_where_there_are_labels(self):
        arguments = ["--set", f'evaluation.sets=["{self.labelled}"]']
        one = self.tables("classify", *arguments)
        for part in ("Top-1", "22 pictures", "0.3333"):  # a third by chance
            self.assertIn(part, one)
        for ranks in (2, 3):
            self.assertEqual(self.tables("classify", *arguments, ranks=ranks), one)
        page = (self.folder / "classify" / "report.html").read_text("utf-8")
        for part in (*CLASSES, "Confusion on labelled"):
            self.assertIn(part, page)
        error = self.program("eval", *self.trained("classify"), expect=2)
        self.assertRegex(error, "labels must be below model.classes = 3; .* with label [34]")
        error = self.program("eval", *self.trained("classify"), "--set", "parallel.dp=2", ranks=2, expect=2)
        self.assertEqual(error.count("triptych: error:"), 1, error)

    def maps_of(self, task, *options, ranks=1):
        """Of an evaluation's report: the maps of each example that has any."""
        self.tables(task, *options, ranks=ranks)
        page = (self.folder / task / "report.html").read_text("utf-8")
        return [re.findall(r'src="data:image/png;base64,([^"]+)" alt="([^"]*)"', maps)
                for maps in re.findall(r'<ul class="maps">(.*?)</ul>', page, flags=re.S)]

    def test_the_report_shows_where_the_model_looked(self):
        labelled = ["--set", f'evaluation.sets=["{self.labelled}"]']
        right = round(22 * float(re.search(r"0\.\d{4}|1\.0000", self.tables("classify", *labelled))[0]))
        for task, examples in (("classify", min(right, 2) + min(22 - right, 2)), ("caption", 2), ("language", 2)):
            with self.subTest(task):
                some = [*labelled, "--set", "evaluation.maps=2"]
                one = self.maps_of(task, *some)
                self.assertLessEqual(len(one), examples)  # what is empty was not looked at for anything
                if task == "classify":
                    self.assertEqual([len(maps) for maps in one], [1] * examples)
                    self.assertTrue(all(words in CLASSES for maps in one for _, words in maps), one)
                for ranks in (2, 3):
                    self.assertEqual(self.maps_of(task, *some, ranks=ranks), one)
                mesh = self.maps_of(task, *some, "--set", "parallel.tp=2", "--set", "parallel.pp=2", ranks=4)
                self.assertLessEqual(len(mesh), examples)
                self.assertEqual(self.maps_of(task, *labelled, "--set", "evaluation.maps=0"), [])

    def scores_of(self, task, text):
        """The similarity of each labelled picture with a text, by the picture's number, as `search` prints it."""
        told = self.output("search", *self.trained(task), "--text", text, "--top", "22", "--data", self.labelled)
        return {int(re.search(r"\(id (\d+)\)", line)[1]) - 1: float(line.split()[0]) for line in told.splitlines()[1:]}

    def test_pictures_are_classified_by_texts_alone(self):
        sets = ["--set", f'evaluation.sets=["{self.labelled}"]']
        for task in ("contrastive", "coca"):
            with self.subTest(task):
                one = self.tables(task, *sets, "--set", 'evaluation.templates=["a {}"]')
                scores = [self.scores_of(task, f"a {name}") for name in CLASSES]
                self.assertEqual(len(scores[0]), 22)
                # Printed to four digits: where two classes are that near, either may be the best.
                sure = possible = 0
                for number in range(22):
                    own = scores[number % 3][number]
                    others = [scores[c][number] for c in range(3) if c != number % 3]
                    sure += all(own > other + 2e-4 for other in others)
                    possible += all(own > other - 2e-4 for other in others)
                table = one[one.index("Zero-shot classification"):]
                found = round(float(re.search(r"0\.\d{4}|1\.0000", table)[0]) * 22)
                self.assertTrue(sure <= found <= possible, f"{sure} <= {found} <= {possible}\n{table}")
                for part in ("22 pictures", "3 classes", "1 templates", "most frequent class", "0.3636", "0.3333"):
                    self.assertIn(part, table)
                templates = ["--set", 'evaluation.templates=["a {}", "picture 7 of a {}"]']
                several = self.tables(task, *sets, *templates)
                self.assertIn("2 templates", several)
                for ranks in (2, 3):
                    self.assertEqual(self.tables(task, *sets, *templates, ranks=ranks), several)

    def test_sets_without_pairs_are_classified_all_the_same(self):
        images = self.folder / "images"
        with open(images / "classes.jsonl", "w", encoding="utf-8") as lines:
            for number in range(0, 22, 2):
                lines.write(json.dumps({"image": f"{number}.jpg", "label": number % 3}) + "\n")
        bare = self.folder / "bare"
        self.program("ingest", "pairs", "--images", images, "--captions", images / "classes.jsonl", "--out", bare)
        settings = ["--set", f'evaluation.sets=["{bare}", "{self.data}"]']
        error = self.program("eval", *self.trained("contrastive"), *settings, "--set", 'evaluation.templates=["a {}"]',
                             expect=2)
        self.assertIn("retrieval needs", error)  # labels alone have no names
        (bare / "classes.txt").write_text("\n".join(CLASSES) + "\n")
        for task in ("contrastive", "coca"):
            told = self.tables(task, *settings, "--set", 'evaluation.templates=["a {}"]')
            self.assertRegex(told, r"Retrieval[^Z]*22 queries(.|\n)*Zero-shot classification(.|\n)*11 pictures")
        (bare / "classes.txt").write_text("square\n")
        error = self.program("eval", *self.trained("contrastive"), *settings, "--set", 'evaluation.templates=["a {}"]',
                             expect=2)
        self.assertRegex(error, "every label needs a name in classes.txt, which has 1; found label [12] of ")
        error = self.program("eval", *self.trained("contrastive"), *settings, "--set", 'evaluation.templates=["a"]',
                             expect=2)
        self.assertIn("each must have {} where the name stands, found `a`", error)

    def test_a_mesh_gives_what_one_rank_gives(self):
        for task in ("contrastive", "caption"):
            one = self.tables(task)
            mesh = self.tables(task, "--set", "parallel.tp=2", "--set", "parallel.pp=2", ranks=4)
            self.assertEqual(re.findall(r"[A-Za-z]+", mesh), re.findall(r"[A-Za-z]+", one))
            for found, expected in zip(re.findall(r"\d+\.\d+", mesh), re.findall(r"\d+\.\d+", one)):
                # Other roundings may let two candidates change places.
                self.assertAlmostEqual(float(found), float(expected), delta=100 / 22 + 0.1)

    def test_search_finds_the_same_on_any_number_of_ranks(self):
        for task in ("contrastive", "coca"):
            with self.subTest(task):
                words = ["search", *self.trained(task), "--text", "a red disc", "--top", "5"]
                one = self.output(*words)
                self.assertEqual(len(one.splitlines()), 6, one)
                scores = [float(line.split()[0]) for line in one.splitlines()[1:]]
                self.assertEqual(scores, sorted(scores, reverse=True))
                for ranks in (2, 3):
                    self.assertEqual(self.output(*words, ranks=ranks), one)
                sheet, page = self.folder / f"{task}.png", self.folder / f"{task}.html"
                self.output(*words, "--out", sheet)
                self.assertEqual(sheet.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
                self.output(*words, "--out", page)
                text = page.read_text("utf-8")
                captions = [line.split("  ")[-1] for line in one.splitlines()[1:]]
                self.assertEqual(len(re.findall(r'src="data:image/png', text)), 5)
                for caption in captions:
                    self.assertIn(html.escape(caption), text)
                self.assertIn("must be a file .html", self.program(*words, "--out", self.folder / "a.gif", expect=2))

    def embedded(self, task, what, name, *options, ranks=1):
        """The rows and ids that `embed` writes of the small data set."""
        out = self.folder / f"{name}.npy"
        self.output("embed", *self.trained(task), "--data", self.data, what, "--out", out, *options, ranks=ranks)
        return np.load(out), np.load(out.with_suffix(".ids.npy"))

    def test_recall_is_what_numpy_finds_with_the_embeddings(self):
        for task in ("contrastive", "coca", "align"):
            with self.subTest(task):
                images, of_images = self.embedded(task, "--images", f"{task}_images")
                texts, of_texts = self.embedded(task, "--texts", f"{task}_texts")
                self.assertEqual((images.dtype, of_images.dtype), (np.float32, np.uint64))
                np.testing.assert_allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1, atol=1e-5)
                self.assertEqual(of_images[:, 0].tolist(), list(range(22)))
                self.assertEqual(of_texts[:, 2].tolist(), [0, 1] * 22)
                self.assertEqual(of_texts[:, 1].tolist(), [int(of_images[s, 1]) for s in of_texts[:, 0].astype(int)])
                scores = images.astype(np.float64) @ texts.astype(np.float64).T
                right = of_images[:, 0][:, None] == of_texts[:, 0][None, :]
                told = self.run_program("eval", *self.trained(task), "--set", f'evaluation.sets=["{self.data}"]', "--json")
                numbers = json.loads(told.stdout)
                for direction, s, r in (("image to text", scores, right), ("text to image", scores.T, right.T)):
                    best = np.where(r, s, -np.inf).max(axis=1, keepdims=True)
                    # Equal ones count as before: pictures here share captions. Whether two are may be a matter of rounding.
                    most, least = (((s >= best + by) & ~r).sum(axis=1) for by in (-1e-6, 1e-6))
                    for k in (1, 5, 10):
                        number = numbers[f"data: {direction} recall@{k}"]
                        self.assertGreaterEqual(number, (most < k).mean() - 1e-12)
                        self.assertLessEqual(number, (least < k).mean() + 1e-12)
                        self.assertAlmostEqual(number * len(s), round(number * len(s)), places=9)

    def test_embeddings_are_the_same_on_any_mesh_and_of_half_the_size_but_for_rounding(self):
        for what in ("--images", "--texts"):
            rows, ids = self.embedded("contrastive", what, "one")
            for ranks, mesh in ((2, {"dp": 2}), (3, {"dp": 3}), (2, {"tp": 2}), (2, {"pp": 2}), (2, {"cp": 2})):
                words = [w for axis, size in mesh.items() for w in ("--set", f"parallel.{axis}={size}")]
                words += ["--set", "training.global_batch=12"] if ranks == 3 else []
                again, same = self.embedded("contrastive", what, "several", *words, ranks=ranks)
                np.testing.assert_allclose(again, rows, atol=2e-6)
                np.testing.assert_array_equal(same, ids)
            half, same = self.embedded("contrastive", what, "half", "--dtype", "float16")
            self.assertEqual(half.dtype, np.float16)
            np.testing.assert_array_equal(half, rows.astype(np.float16))

    def test_search_among_embeddings_is_search_among_pictures(self):
        trained = self.trained("contrastive")
        images, _ = self.embedded("contrastive", "--images", "among")
        texts, ids = self.embedded("contrastive", "--texts", "among_texts")
        file = self.folder / "among.npy"
        for query in (["--text", "a red disc"], ["--image", self.folder / "images" / "3.png"]):
            words = ["search", *trained, *query, "--top", "22", "--data", self.data]
            one = self.output(*words)
            among = self.output(*words, "--embeddings", file)
            self.assertEqual(one.splitlines()[1:], among.splitlines()[1:])
            for ranks in (2, 3):
                self.assertEqual(self.output(*words, "--embeddings", file, ranks=ranks), among)
        # A picture is nearest to itself; a vector needs no model, and its length does not matter.
        self.assertRegex(self.output("search", *trained, "--image", self.folder / "images" / "3.png", "--top", "1", "--data",
                                     self.data), r"\n +1\.0000  .* sample 3 ")
        np.save(self.folder / "query.npy", 7 * texts[5])
        told = self.output("search", *trained, "--vector", self.folder / "query.npy", "--checkpoint", "none", "--embeddings",
                           self.folder / "among_texts.npy", "--top", "44")
        best = np.argsort(-(texts @ texts[5]), kind="stable")
        self.assertRegex(told.splitlines()[1], rf"^ +1\.0000  sample {ids[best[0]][0]} ")
        scores = [float(line.split()[0]) for line in told.splitlines()[1:]]
        np.testing.assert_allclose(scores, np.sort(texts @ texts[5])[::-1], atol=6e-5)

    def test_what_are_no_embeddings_is_said(self):
        trained = self.trained("contrastive")
        self.embedded("contrastive", "--images", "some")
        good = (self.folder / "some.npy").read_bytes()
        query = ["search", *trained, "--text", "a", "--embeddings", self.folder / "some.npy"]
        np.save(self.folder / "some.npy", np.zeros((22, 3), np.float32))
        self.assertIn("as many columns as what is searched: 3, found 12", self.program(*query, expect=2))
        np.save(self.folder / "some.npy", np.zeros((21, 12), np.float32))
        self.assertIn("must hold uint64 [21, 3]", self.program(*query, expect=2))
        np.save(self.folder / "some.npy", np.zeros((22, 12), np.float64))
        self.assertIn("found elements of <f8", self.program(*query, expect=2))
        for damaged in (b"", good[:9], good[:100], good[:-1], good + b"x", b"PK" + good):
            (self.folder / "some.npy").write_bytes(damaged)
            self.assertIn("must be a NumPy file", self.program(*query, expect=2))
        error = self.program("embed", *trained, "--data", self.data, "--images", "--out", self.folder / "x.bin", expect=2)
        self.assertIn("ends with .npy", error)
        for what in ([], ["--images", "--texts"]):
            self.program("embed", *trained, "--data", self.data, *what, "--out", self.folder / "x.npy", expect=2)

    def test_a_task_that_cannot_search_says_so_once(self):
        for task in ("classify", "caption"):
            for ranks in (1, 2):
                error = self.program("search", *self.trained(task), "--text", "a red disc", ranks=ranks, expect=2)
                self.assertEqual(error.count("triptych: error:"), 1, error)
                self.assertIn("does not compare texts with pictures", error)

    def test_a_baseline_stands_beside_the_model(self):
        baseline = self.folder / "raw_pixels.json"
        baseline.write_text(json.dumps({"data": {"image to text recall@1": 0.4321}}))
        self.assertRegex(self.tables("contrastive", "--baseline", baseline), r"raw pixels(.|\n)*0\.4321")

    def test_results_are_the_numbers_of_the_table_by_name(self):
        told = self.run_program("eval", *self.trained("contrastive"), "--json")
        table, numbers = told.stderr, json.loads(told.stdout)
        names = [f"{name}: {direction} recall@{k}" for name in ("data", "labelled")
                 for direction in ("image to text", "text to image") for k in (1, 5, 10)]
        losses = [f"{name}: loss" for name in ("data", "labelled")]
        self.assertEqual(list(numbers), names + losses)
        printed = [float(x) for x in re.findall(r"^(?:data|labelled) +([\d.]+)$", table, re.M)]
        for name, short in zip(losses, printed, strict=True):
            self.assertAlmostEqual(numbers.pop(name), short, delta=5.1e-5, msg=name)
        self.assertEqual(list(numbers), names)
        printed = [float(x) for row in re.findall(r"^  model((?: +[\d.]+){3})$", table, re.M) for x in row.split()]
        self.assertEqual(len(printed), len(names), table)
        for name, number, short in zip(names, numbers.values(), printed):
            self.assertAlmostEqual(number, short, delta=5.1e-5, msg=name)
        self.assertTrue(any(f"{number}" not in table for number in numbers.values()), "all digits, not the table's")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
