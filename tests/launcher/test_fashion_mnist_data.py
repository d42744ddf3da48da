#!/usr/bin/python3
"""Fashion-MNIST's sources out of a package, on a package made here."""

import contextlib
import gzip
import io
import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
from PIL import Image

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "launcher"))
from debian_packages import fetch_packages, find_package, read_members  # noqa: E402
from make_fashion_mnist_data import CLASSES, FOLDER, PACKAGE, few_labelled, grey_png, make_sets, read_idx  # noqa: E402


def idx(array):
    return gzip.compress(b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


class FashionMnistData(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="triptych_fashion_")
        self.addCleanup(self.scratch.cleanup)
        self.folder = Path(self.scratch.name)
        rng = np.random.default_rng(1)
        self.sets = {"train": (rng.integers(0, 256, (1003, 5, 7), np.uint8), rng.integers(0, 10, 1003).astype(np.uint8)),
                     "test": (rng.integers(0, 256, (3, 5, 7), np.uint8), np.array([9, 0, 3], np.uint8))}
        self.files = {}
        for prefix, (images, labels) in zip(("train", "t10k"), self.sets.values()):
            self.files[f"{FOLDER}{prefix}-images-idx3-ubyte.gz"] = idx(images)
            self.files[f"{FOLDER}{prefix}-labels-idx1-ubyte.gz"] = idx(labels)

    def make_package(self):
        tree = self.folder / "tree"
        for name, data in (self.files | {"usr/share/doc/other": b"x"}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(data)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\nDescription: test\n")
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, self.folder / f"{PACKAGE}_1_all.deb"],
                       check=True, stdout=subprocess.DEVNULL)

    def fails(self, part, function, *arguments):
        with self.assertRaises(SystemExit) as caught:
            function(*arguments)
        self.assertIn(part, str(caught.exception))

    def test_packages_are_read_in_place(self):
        self.make_package()
        deb = find_package(self.folder, PACKAGE)
        self.assertEqual(fetch_packages(self.folder, [PACKAGE]), {PACKAGE: deb})  # there already: nothing to download
        self.assertEqual(read_members(deb, (FOLDER,)), self.files)
        self.fails("has no usr/share/none", read_members, deb, (FOLDER, "usr/share/none"))
        deb.write_bytes(deb.read_bytes()[:-300])
        with contextlib.redirect_stderr(io.StringIO()):
            self.fails("packages", read_members, deb, (FOLDER,))

    def test_the_sets_hold_every_picture_with_its_label(self):
        facts = make_sets(self.files, self.folder / "sources")
        self.assertEqual(facts[-1], "test: 3 images of 3 classes, 7 x 5")
        for name, (images, labels) in self.sets.items():
            folder = self.folder / "sources" / name
            self.assertEqual((folder / "classes.txt").read_text().splitlines(), list(CLASSES))
            lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
            self.assertEqual([line["label"] for line in lines], labels.tolist())
            self.assertEqual([line["id"] for line in lines], list(range(len(labels))))
            for line, pixels in list(zip(lines, images))[::101]:
                image = Image.open(folder / "images" / line["image"])
                self.assertEqual(image.mode, "L")
                np.testing.assert_array_equal(np.asarray(image), pixels)
        self.assertEqual(lines[0]["image"], "00/00000.png")
        # Of few labels each picture keeps its place in train as its id.
        images, labels = self.sets["train"]
        folder = self.folder / "sources" / "few_labels_2"
        lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
        self.assertEqual([line["id"] for line in lines], few_labelled(labels, 2))
        for line in lines[::97]:
            self.assertEqual(line["label"], labels[line["id"]])
            np.testing.assert_array_equal(np.asarray(Image.open(folder / "images" / line["image"])), images[line["id"]])
        self.assertTrue((self.folder / "sources/train/images/01/01002.png").is_file())

    def test_few_labels_are_balanced_and_other_in_each_draw(self):
        _, labels = self.sets["train"]
        draws = [few_labelled(labels, draw) for draw in (1, 2, 3)]
        for draw in draws:
            self.assertEqual(np.bincount(labels[draw]).tolist(), [60] * 10)
            self.assertEqual(draw, sorted(set(draw)))
        # About 100 of each class are there, so two draws of 60 share some 36 by chance.
        for one, other in ((0, 1), (0, 2), (1, 2)):
            self.assertTrue(300 < len(set(draws[one]) & set(draws[other])) < 420)
        self.fails("must take 60 of each class, found 0 of Ankle boot", few_labelled, labels[labels != 9], 1)

    def test_odd_pictures_are_sound_pngs(self):
        for shape in ((1, 1), (1, 9), (3, 2)):
            pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
            image = Image.open(io.BytesIO(grey_png(pixels)))
            image.load()
            np.testing.assert_array_equal(np.asarray(image), pixels)

    def test_damaged_files_are_refused(self):
        whole = gzip.decompress(idx(np.zeros((2, 3, 4), np.uint8)))
        self.assertEqual(read_idx("f", gzip.compress(whole)).shape, (2, 3, 4))
        self.fails("cannot be unpacked", read_idx, "f", b"no gzip")
        self.fails("cannot be unpacked", read_idx, "f", gzip.compress(whole)[:-9])
        self.fails("must start with 00 00 08", read_idx, "f", gzip.compress(b"\0\0\x0d" + whole[3:]))
        self.fails("ends within their sizes", read_idx, "f", gzip.compress(whole[:10]))
        self.fails("must hold 2 x 3 x 4 bytes, found 23", read_idx, "f", gzip.compress(whole[:-1]))
        self.fails("must hold 2 x 3 x 4 bytes, found 25", read_idx, "f", gzip.compress(whole + b"x"))
        self.files[f"{FOLDER}t10k-labels-idx1-ubyte.gz"] = idx(np.array([9, 0, 10], np.uint8))
        self.fails("the largest 10", make_sets, self.files, self.folder / "sources")


if __name__ == "__main__":
    unittest.main()
