#!/usr/bin/python3
"""Tests launcher/stamp_baseline.py: its measure against pycocotools' output, its correlation against the definition."""

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPOSITORY / "launcher"))
import stamp_baseline  # noqa: E402  (found beside the program)
from small_shards import png, write_shard  # noqa: E402


class MeanAveragePrecision(unittest.TestCase):
    def test_agrees_with_another_library(self):
        reference = json.loads((REPOSITORY / "tests/evaluation/reference/detection.json").read_text())
        compared = 0
        for each in reference["sets"]:
            if any(o[5] for image in each["images"] for o in image["objects"]):
                continue  # crowds, which stamps are not
            images = [([(o[:4], o[4]) for o in image["objects"]], [(d[:4], d[4], d[5]) for d in image["detections"]])
                      for image in each["images"]]
            found = stamp_baseline.mean_average_precision(images, each["num_classes"])
            expected = next(scores["mean"] for scores in each["scores"] if scores["size"] == "all")
            for ours, theirs in zip(found, expected):
                self.assertAlmostEqual(ours, theirs or 0, places=9, msg=each["name"])
            compared += 1
        self.assertGreater(compared, 0)


class Matching(unittest.TestCase):
    def setUp(self):
        rng = np.random.default_rng(3)
        self.picture = rng.integers(0, 256, (stamp_baseline.SIDE, stamp_baseline.SIDE, 3)).astype(np.float64)
        pixels = rng.integers(0, 256, (9, 13, 4)).astype(np.uint8)
        pixels[..., 3] = np.where(rng.random((9, 13)) < 0.7, 255, 0)
        pixels[0, :, 3] = pixels[-1, :, 3] = pixels[:, 0, 3] = pixels[:, -1, 3] = 255
        self.stamp = Image.fromarray(pixels, "RGBA")
        self.template = stamp_baseline.template_of(0, 0, self.stamp, 13)

    def test_finds_the_stamp_where_it_was_put(self):
        self.assertEqual((self.template.height, self.template.width), (9, 13))
        values = np.asarray(self.stamp, np.float64)
        under = self.picture[20:29, 31:44]
        under[values[..., 3] >= 128] = 0.5 * values[..., :3][values[..., 3] >= 128] + 20  # paler: correlates all the same
        place = stamp_baseline.best_places(self.picture, [self.template])[0]
        np.testing.assert_allclose(place, (31, 20, 44, 29, 1), atol=1e-6)

    def test_correlates_as_defined(self):
        left, top, *_, correlation = stamp_baseline.best_places(self.picture, [self.template])[0]
        values = np.asarray(self.stamp, np.float64)
        mask = values[..., 3] >= 128
        a = values[..., :3][mask].ravel()
        b = self.picture[int(top):int(top) + 9, int(left):int(left) + 13][mask].ravel()
        self.assertAlmostEqual(correlation, np.corrcoef(a, b)[0, 1], places=9)

    def test_keeps_the_better_of_two_that_overlap(self):
        boxes = np.array([(0, 0, 10, 10), (1, 0, 11, 10), (30, 0, 40, 10)], float)
        self.assertEqual(stamp_baseline.kept(boxes, np.array([0.5, 0.6, 0.1])), [1, 2])


class DataSets(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="triptych_stamps_")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def write(self, name, samples, boxes=()):
        (self.folder / name).mkdir()
        (self.folder / name / "classes.txt").write_text("noise\nwaves\n")
        write_shard(self.folder / name / "shard_00000.h5", samples, boxes)
        return self.folder / name

    def test_finds_what_was_composed(self):
        rng = np.random.default_rng(5)
        rows, columns = np.mgrid[:25, :25]
        noise = rng.integers(0, 256, (25, 25, 3), np.uint8)
        waves = (127 + 120 * np.sin(rows * columns / 9))[..., None].repeat(3, 2).astype(np.uint8)
        stamps = self.write("stamps", [(png(noise), ["en: the noise"], 0), (png(waves), ["en: some waves"], 1)])
        scenes, boxes = [], []
        for number, (left, top) in enumerate(((3, 30), (20, 1))):
            scene = rng.integers(0, 256, (stamp_baseline.SIDE, stamp_baseline.SIDE, 3), np.uint8)
            scene[top:top + 25, left:left + 25] = waves
            scenes.append((png(scene), ["the waves"], None))
            boxes.append((number, (left, top, left + 25, top + 25), 1, 0))
        scenes = self.write("scenes", scenes, boxes)
        arguments = ["stamp_baseline.py", stamps, scenes, "--out", self.folder / "found.json"]
        with mock.patch.object(sys, "argv", list(map(str, arguments))), contextlib.redirect_stdout(io.StringIO()):
            stamp_baseline.main()
        found = json.loads((self.folder / "found.json").read_text())
        self.assertIn("stamp", found.pop("about"))
        self.assertEqual(found, {"scenes": {"mAP": 1.0, "mAP at 0.5": 1.0, "accuracy at 0.5": 1.0}})


if __name__ == "__main__":
    unittest.main()
