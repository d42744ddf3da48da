#!/usr/bin/python3
"""The pixel baseline, against loops over everything on small sets, and its chrF against known answers."""

import contextlib
import io
import json
import math
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "launcher"))
import pixel_baseline  # noqa: E402
from chrf import ChrfCounter  # noqa: E402
from small_shards import png, write_shard  # noqa: E402

# Of tests/evaluation/chrf_test.cpp: scores of sacreBLEU 2.6.0, CHRF().
CHRF_CASES = [
    ("the cat sat on the mat", ["the cat sat on the mat"], 100.0),
    ("the cat is on the mat", ["the cat sat on the mat"], 61.9251512899325),
    ("a red apple", ["red apple", "an apple that is red"], 96.17320480751631),
    ("", ["red apple"], 0.0),
    ("xyz", ["red apple"], 0.0),
    ("红苹果", ["红色的苹果", "一个红苹果"], 53.34987593052109),
    ("一只猫坐在垫子上。", ["猫坐在垫子上"], 83.4542337114218),
    ("Hello, world! (yes)", ["Hello world yes."], 45.24950151832581),
    ("ab", ["abc"], 63.636363636363626),
    ("a", ["a"], 100.0),
    ("two  spaces\u00a0and\u3000more", ["two spaces and more"], 100.0),
    ("naïve café – déjà vu", ["naive cafe - deja vu", "naïve café, déjà vu"], 72.00112387612387),
    ("!?", ["?!"], 50.0),
    ("red apple", [""], 0.0),
]


def words(caption):
    for mark in ",:;、()":
        caption = caption.replace(mark, " ")
    return set(caption.lower().split(" ")) - {""}


def distance(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a.reshape(-1), b.reshape(-1)))


def expected_recall(evaluated, training, num_nearest):
    """By loops in double precision; evaluated and training are lists of (pixels [32, 32, 3] bytes, captions)."""
    nearest = [sorted((distance(a, b), t) for t, (b, _) in enumerate(training))[:num_nearest] for a, _ in evaluated]
    scale = sorted(row[0][0] for row in nearest)[len(evaluated) // 2]
    picture_of = [picture for picture, (_, captions) in enumerate(evaluated) for _ in captions]
    texts = [caption for _, captions in evaluated for caption in captions]

    def overlap(caption, other):
        return len(words(caption) & words(other)) / len(words(caption) | words(other))

    scores = [[max([overlap(text, other) * math.exp(-d / scale) for d, t in row for other in training[t][1]], default=0)
               for text in texts] for row in nearest]
    result = {}
    to_text = [[(scores[i][c], picture_of[c] == i) for c in range(len(texts))] for i in range(len(evaluated))]
    to_image = [[(scores[i][c], picture_of[c] == i) for i in range(len(evaluated))] for c in range(len(texts))]
    for direction, queries in (("image to text", to_text), ("text to image", to_image)):
        queries = [query for query in queries if any(right for _, right in query)]
        before = []
        for query in queries:
            best = max(score for score, right in query if right)
            before.append(sum(score >= best and not right for score, right in query))
        for k in (1, 5, 10):
            result[f"{direction} recall@{k}"] = sum(count < k for count in before) / len(queries)
    return result


class PixelBaseline(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="triptych_pixels_")
        self.addCleanup(self.scratch.cleanup)
        self.folder = Path(self.scratch.name)

    def write(self, name, samples, per_shard=5):
        (self.folder / name).mkdir()
        for number, begin in enumerate(range(0, len(samples), per_shard)):
            write_shard(self.folder / name / f"shard_{number:05}.h5", samples[begin:begin + per_shard])
        return self.folder / name

    def run_tool(self, *words):
        with mock.patch.object(sys, "argv", ["pixel_baseline.py", *map(str, words)]), \
                contextlib.redirect_stdout(io.StringIO()) as out:
            pixel_baseline.main()
        return out.getvalue()

    def fails(self, part, *words):
        with self.assertRaises(SystemExit) as caught:
            self.run_tool(*words)
        self.assertIn(part, str(caught.exception))

    def test_retrieval_agrees_with_loops(self):
        rng = np.random.default_rng(7)
        vocabulary = ["Red", "blue", "disc", "square", "cross", "big", "small", "苹果"]

        def samples(count):
            result = []
            for number in range(count):  # 0 to 3 captions, which differ in the number of words
                captions = [rng.choice([", ", " ", ": ", "、"]).join(rng.choice(vocabulary, rng.integers(1, 4)))
                            for _ in range(number % 4)]
                result.append((rng.integers(0, 256, (32, 32, 3), np.uint8), captions))
            return result

        training, evaluated = samples(17), samples(13)
        for picture in range(0, 13, 2):  # near to something, with noise
            noisy = training[picture][0].astype(int) + rng.integers(-40, 41, (32, 32, 3))
            evaluated[picture] = (np.clip(noisy, 0, 255).astype(np.uint8), training[picture][1])
        train = self.write("train", [(png(pixels), captions, None) for pixels, captions in training])
        unseen = self.write("unseen", [(png(pixels), captions, None) for pixels, captions in evaluated])
        for num_nearest in (50, 3):
            with self.subTest(num_nearest=num_nearest), mock.patch.object(pixel_baseline, "BLOCK", 4), \
                    mock.patch.object(pixel_baseline, "NEAREST", num_nearest):
                self.run_tool(train, f"{unseen}/", "--out", self.folder / "new" / "raw_pixels.json")
                found = json.loads((self.folder / "new" / "raw_pixels.json").read_text())
                self.assertEqual(list(found), ["about", "unseen"])
                self.assertIn("chrF", found["unseen"])
                self.assertNotIn("top-1 accuracy", found["unseen"])
                expected = expected_recall(evaluated, training, num_nearest)
                for direction in ("image to text", "text to image"):
                    self.assertGreater(expected[f"{direction} recall@1"], 0)
                    self.assertLess(expected[f"{direction} recall@1"], expected[f"{direction} recall@10"])
                for key, value in expected.items():
                    self.assertAlmostEqual(found["unseen"][key], value, places=12, msg=key)

    def test_the_nearest_are_exact_and_equals_in_order(self):
        rng = np.random.default_rng(3)
        for side, channels in ((28, 1), (7, 3), (1, 3)):
            # Of few values, so that many are equally far; some are there twice.
            training = rng.integers(0, 2, (300, side, side, channels), np.uint8) * 3 + 100
            training[200:210] = training[:10]
            # Differences of the lightness of cells alone, of their insides alone, and of both.
            training[50:60] = training[0] + np.arange(1, 11, dtype=np.uint8)[:, None, None, None]
            pictures = np.concatenate([training[5:15], rng.integers(90, 120, (7, side, side, channels), np.uint8)])
            with self.subTest(side=side), mock.patch.object(pixel_baseline, "BLOCK", 4):
                for k in (1, 9, 1000):
                    nearest, distances = pixel_baseline.nearest_of(pictures, training, k)
                    apart = ((pictures[:, None].astype(int) - training) ** 2).sum((2, 3, 4))
                    expected = np.argsort(apart, axis=1, kind="stable")[:, :k]
                    np.testing.assert_array_equal(nearest, expected)
                    np.testing.assert_array_equal(distances, np.take_along_axis(apart, expected, 1))

    def test_prompts_choose_the_captions_that_are_compared(self):
        def flat(value):
            return png(np.full((9, 9, 3), value, np.uint8))

        train = self.write("train", [(flat(0), ["zh: 黑", "en: Black", "en: dark"], None), (flat(255), ["zh: 白"], None)])
        test = self.write("test", [(flat(10), ["en:  BLACK one ", "zh: 黑色", "en:ﬁne"], None),
                                   (flat(250), ["en: white", "zh: 白"], None), (flat(20), ["black"], None)])
        self.run_tool(train, test, "--prompt", "en:", "--prompt", "zh:", "--out", self.folder / "p.json")
        found = json.loads((self.folder / "p.json").read_text())["test"]
        self.assertNotIn("chrF", found)
        for prompt, compared in (("en:", [("black", ["black one", "fine"]), ("", ["white"])]),
                                 ("zh:", [("黑", ["黑色"]), ("白", ["白"])])):
            counter = ChrfCounter()
            for produced, references in compared:
                counter.add(produced, references)
            self.assertGreater(counter.corpus_score(), 0)
            self.assertEqual(found[f"{prompt} chrF"], counter.corpus_score())

    def test_labels_and_captions_come_from_the_nearest_picture(self):
        def flat(value):
            return png(np.full((9, 9, 3), value, np.uint8))

        train = self.write("train", [(flat(0), ["black"], 0), (b"", ["text alone"], 4), (flat(100), ["grey"], 1),
                                     (flat(255), ["white"], None)], per_shard=2)
        test = self.write("test", [(flat(10), ["a black one", "black"], 0), (flat(90), ["gray"], 0),
                                   (flat(240), ["snow"], None), (flat(120), [], 1)])
        output = self.run_tool(train, test, "--out", self.folder / "p.json", "--max-candidates", 3)
        self.assertIn("no retrieval, 4 pictures", output)
        found = json.loads((self.folder / "p.json").read_text())["test"]
        self.assertAlmostEqual(found["top-1 accuracy"], 2 / 3)
        counter = ChrfCounter()
        for produced, references in (("black", ["a black one", "black"]), ("grey", ["gray"]), ("white", ["snow"])):
            counter.add(produced, references)
        self.assertEqual(found["chrF"], counter.corpus_score())
        self.assertEqual(set(found), {"top-1 accuracy", "chrF"})

    def test_pictures_are_cut_and_made_small_as_the_loader_does(self):
        # The middle 64 x 64 of 64 x 96; halved with triangle weights 1/8, 3/8, 3/8, 1/8.
        rng = np.random.default_rng(2)
        pixels = rng.integers(0, 256, (64, 96, 3), np.uint8)
        small = pixel_baseline.small_picture(png(pixels))
        at = pixels[9:13, 16 + 19:16 + 23].astype(float)  # the taps of output (5, 10)
        weights = np.array([1, 3, 3, 1]) / 8
        np.testing.assert_array_equal(small[5, 10], np.rint(np.einsum("y,x,yxc->c", weights, weights, at)))
        upside_down = pixel_baseline.small_picture(png(pixels[::-1]))
        np.testing.assert_array_equal(upside_down, small[::-1])
        same = rng.integers(0, 256, (32, 32), np.uint8)
        np.testing.assert_array_equal(pixel_baseline.small_picture(png(same)), np.repeat(same[:, :, None], 3, 2))
        small_grey = rng.integers(0, 256, (28, 28), np.uint8)  # larger than it is it would tell no more
        read = pixel_baseline.PictureSet(self.write("grey", [(png(small_grey), [], None)]), 1)
        np.testing.assert_array_equal(read.pixels, np.repeat(small_grey[None, :, :, None], 3, 3))
        clear = np.zeros((32, 32, 4), np.uint8)
        np.testing.assert_array_equal(pixel_baseline.small_picture(png(clear)), np.full((32, 32, 3), 255))

    def test_says_what_is_wrong(self):
        one = self.write("one", [(png(np.zeros((2, 2, 3), np.uint8)), ["a"], 1)] * 3)
        out = ["--out", self.folder / "p.json"]
        self.fails("must have at most 2 pictures, found more", one, one, *out, "--max-pictures", 2)
        (self.folder / "empty").mkdir()
        self.fails("holds no shards", one, self.folder / "empty", *out)
        self.fails("has no picture", one, self.write("texts", [(b"", ["a"], None)]), *out)
        (self.folder / "other" / "one").mkdir(parents=True)
        write_shard(self.folder / "other" / "one" / "a.h5", [(png(np.zeros((2, 2, 3), np.uint8)), [], 1)])
        self.fails("two sets of the name one", one, one, self.folder / "other" / "one", *out)
        self.fails("cannot identify image", one, self.write("scrap", [(b"no picture", ["a"], None)]), *out)
        (one / "shard_00009.h5").write_bytes(b"no HDF5")
        self.fails("is no shard that can be read", one, one, *out)
        self.assertFalse((self.folder / "p.json").exists())

    def test_chrf_has_the_known_answers(self):
        for produced, references, score in CHRF_CASES:
            self.assertAlmostEqual(ChrfCounter().add(produced, references), score, places=9, msg=produced)
        counter = ChrfCounter()
        for produced, references, _ in CHRF_CASES:
            if len(references) == 1:
                counter.add(produced, references)
        self.assertAlmostEqual(counter.corpus_score(), 67.46845366953993, places=9)
        self.assertEqual(ChrfCounter().corpus_score(), 0)


if __name__ == "__main__":
    unittest.main()
