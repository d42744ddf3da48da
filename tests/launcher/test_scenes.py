#!/usr/bin/python3
"""Scenes with boxes, GCompris' photographs and Qt's resource files, on pictures and files made here."""

import io
import struct
import sys
import unittest
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "launcher"))
import photographs  # noqa: E402
from photographs import Photograph, read_credits, read_photographs  # noqa: E402
from qt_resources import QtResources  # noqa: E402
from scenes import (LONGER_SIDE, MAX_OVERLAP, SHORTER_SIDE, SIDE, can_be_placed, compose, contrast, overlap,  # noqa: E402
                    phrase_of, place, resized)
from stamps import Stamp  # noqa: E402


def resources(tree, version=3, compressed=()):
    """A .rcc of {name: bytes or a further such dict}: Qt's format, with the root as node 0 and children side by side."""
    nodes, names, contents = [], b"", b""
    queue = [("", tree)]
    for name, entry in queue:  # which grows
        place_of_name = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(entry, dict):
            nodes.append(struct.pack(">IHII", place_of_name, 2, len(entry), len(queue)))
            queue += entry.items()
        else:
            data = struct.pack(">I", len(entry)) + zlib.compress(entry) if name in compressed else entry
            nodes.append(struct.pack(">IHHHI", place_of_name, name in compressed, 0, 1, len(contents)))
            contents += struct.pack(">I", len(data)) + data
    times = b"" if version == 1 else bytes(8)
    nodes = b"".join(node + times for node in nodes)
    header = struct.pack(">4sIIII", b"qres", version, 24, 24 + len(nodes), 24 + len(nodes) + len(contents))
    return header + bytes(4) + nodes + contents + names


def webp(size, seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(file, "WEBP")
    return file.getvalue()


def stamp(name, caption, image):
    return Stamp(name, {"en": caption}, 1, image)


class Fails(unittest.TestCase):
    def fails(self, part, function, *arguments):
        with self.assertRaises(SystemExit) as caught:
            function(*arguments)
        self.assertIn(part, str(caught.exception))


class Resources(Fails):
    def test_files_are_found_by_their_paths(self):
        tree = {"a": {"b.txt": b"hello", "ü": {"README": b"x" * 1000}}, "empty": b""}
        for version in (1, 2, 3):
            read = QtResources("f", resources(tree, version, {"README"}))
            self.assertEqual(read.paths(), ["a/b.txt", "a/ü/README", "empty"])
            self.assertEqual([read.read(path) for path in read.paths()], [b"hello", b"x" * 1000, b""])

    def test_damaged_files_are_refused(self):
        whole = resources({"d": {"f": b"content" * 9, "g": b"1"}}, 3, {"f"})
        self.fails("must begin with qres", QtResources, "f", b"qreS" + whole[4:])
        self.fails("a version 1 to 3", QtResources, "f", whole[:4] + struct.pack(">I", 4) + whole[8:])
        for length in range(len(whole)):
            try:
                read = QtResources("f", whole[:length])
                [read.read(path) for path in read.paths()]
            except SystemExit as refusal:
                self.assertIn("[f]", str(refusal))
        packed = whole.index(zlib.compress(b"content" * 9))
        broken = QtResources("f", whole[:packed + 3] + b"\xff\xff" + whole[packed + 5:])
        self.fails("cannot be unpacked", broken.read, "d/f")
        looping = bytearray(whole)
        struct.pack_into(">II", looping, 24 + 22 + 6, 2, 0)  # the folder's first child: the root
        self.fails("must be a tree", QtResources, "f", bytes(looping))
        flags = bytearray(whole)
        struct.pack_into(">H", flags, 24 + 2 * 22 + 4, 4)
        self.fails("Zstandard", QtResources("f", bytes(flags)).read, "d/f")


class Photographs(Fails):
    README = ("Copyright: A. Person\nLicense: CC0-1.0\nSource: https://example.org/1\nFiles:\nx/a.webp\n\n"
              "Copyright: B\nLicense: CC-BY-SA 4.0\nSource: https://example.org/2\nFiles:\nx/b.webp\nx/c.webp\n\n"
              "Files: x/d.webp\nLicense: Public domain\nSource: https://example.org/4\nCopyright: D: the photographer\n\n"
              "Copyright: A. Person\nLicense: Public Domain\nSource: https://example.org/1\nFiles:\nx/e.webp\n\n"
              "Copyright: A. Person\nLicense: Public Domain\nSource: https://example.org/6\nFiles:\nx/small.webp\n")

    def test_credits_are_read_in_any_order(self):
        credits = read_credits(self.README)
        self.assertEqual(credits["x/c.webp"], ("B", "CC-BY-SA 4.0", "https://example.org/2"))
        self.assertEqual(credits["x/d.webp"], ("D: the photographer", "Public domain", "https://example.org/4"))
        self.assertEqual(len(credits), 6)

    def test_photographs_are_free_large_and_of_one_original_each(self):
        files = {"a.webp": webp((210, 200), 1), "b.webp": webp((300, 300), 2), "d.webp": webp((200, 230), 3),
                 "e.webp": webp((220, 210), 4), "small.webp": webp((400, 199), 5), "unnamed.webp": webp((300, 300), 6)}
        folder = {"resource": {"x": files, "README": self.README.encode()}}
        members = {photographs.FOLDER + "explore_monuments.rcc": resources({"g": {"explore_monuments": folder}}),
                   photographs.FOLDER + "clickgame.rcc": resources({}),
                   photographs.FOLDER + "categorization.rcc": resources({})}
        found = read_photographs(members)
        self.assertEqual([each.name for each in found], ["explore_monuments/x/d", "explore_monuments/x/e"])
        self.assertEqual((found[1].author, found[1].image.size, found[1].image.mode), ("A. Person", (220, 210), "RGB"))
        self.fails("clickgame", read_photographs, {each: data for each, data in members.items() if "click" not in each})

    def test_no_photograph_is_in_both_sets(self):
        taken = [Photograph(str(i), "", "", str(i), None) for i in range(10)]
        sets = photographs.sets_of(taken)
        self.assertEqual({name: len(members) for name, members in sets.items()}, {"train": 8, "test": 2})
        self.assertEqual(sorted(sets["train"] + sets["test"]), sorted(taken))


class Scenes(Fails):
    def setUp(self):
        rng = np.random.default_rng(7)
        self.photographs = [Photograph(str(i), "", "", str(i), Image.fromarray(
            rng.integers(100, 130, (230 + i, 300, 3), np.uint8))) for i in range(3)]
        ellipse = Image.new("RGBA", (90, 50), (0, 0, 0, 0))
        ImageDraw.Draw(ellipse).ellipse((10, 5, 70, 40), fill=(255, 0, 0, 255))
        self.stamps = [stamp(f"{category}/{i}", f"The {category} {i}.", ellipse.rotate(10 * i))
                       for category in ("animals", "food") for i in range(6)]

    def test_phrases(self):
        for caption, phrase in (("A happy snail.", "a happy snail"), ("The letter A", "the letter A"),
                                ("Fire! Fire!", "Fire"), ("The caboose\u2014a carriage for the crew.", "the caboose"),
                                ("A 1.5 litre bottle, full.", "a 1.5 litre bottle"), ("Neptune", "Neptune"),
                                ("A coin (0.01 \u20ac).", "a coin"), ("A T-shirt.", "a T-shirt")):
            self.assertEqual(phrase_of(caption), phrase)
        image = Image.new("RGBA", (9, 9), "red")
        self.assertTrue(can_be_placed(stamp("food/x", "A pear.", image)))
        self.assertFalse(can_be_placed(stamp("town/x", "A house.", image)))
        self.assertFalse(can_be_placed(stamp("food/x", "A " + "very " * 20 + "old pear.", image)))

    def test_overlap_is_of_the_smaller_box(self):
        self.assertEqual(overlap((0, 0, 10, 10), (8, 5, 12, 10)), 0.5)  # 2 x 5 of 4 x 5
        self.assertEqual(overlap((0, 0, 10, 10), (10, 0, 20, 10)), 0)
        self.assertEqual(overlap((0, 0, 10, 10), (2, 2, 4, 4)), 1)

    def test_resized_pictures_have_no_transparent_edge(self):
        image = Image.new("RGBA", (200, 100), (0, 0, 0, 0))
        image.paste((9, 9, 9, 255), (20, 10, 120, 90))
        small = resized(image, 50)
        self.assertEqual(small.size, (50, 40))
        image.paste((9, 9, 9, 0), (20, 21, 120, 90))  # 100 x 11 are left
        self.assertIsNone(resized(image, 50))

    def test_contrast_is_the_mean_difference_under_opaque_pixels(self):
        scene = Image.new("RGB", (10, 10), (100, 100, 100))
        picture = Image.new("RGBA", (4, 4), (130, 100, 40, 255))
        picture.paste((255, 255, 255, 0), (0, 0, 2, 4))
        self.assertAlmostEqual(contrast(scene, picture, (3, 3, 7, 7)), 30)
        self.assertIsNone(place(Image.new("RGB", (SIDE, SIDE), "red"), self.stamps[0], [], Random(1)))

    def test_boxes_are_exact(self):
        """Of one red kite on grey, whose thin ends fade when it is scaled: what changed, looked for in the pixels."""
        kite = Image.new("RGBA", (600, 500), (0, 0, 0, 0))
        ImageDraw.Draw(kite).polygon(((5, 210), (330, 10), (590, 200), (300, 480)), fill=(255, 0, 0, 255))
        for number in range(9):
            scene = Image.new("RGB", (SIDE, SIDE), (110, 110, 110))
            box = place(scene, stamp("food/kite", "A kite.", kite.rotate(number)), [], Random(number))
            difference = np.asarray(scene, int)[..., 0] - 110
            rows, columns = np.flatnonzero((difference > 72).any(1)), np.flatnonzero((difference > 72).any(0))  # half of 145
            self.assertEqual(box, (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            outside = difference.copy()
            outside[box[1]:box[3], box[0]:box[2]] = 0
            self.assertFalse(outside.any())

    def test_scenes_keep_the_rules_and_depend_on_their_name_alone(self):
        for number in range(12):
            scene, photograph, placed = compose(f"test {number}", self.photographs, self.stamps)
            self.assertEqual(scene.size, (SIDE, SIDE))
            self.assertTrue(1 <= len(placed) <= 5)
            self.assertEqual(len({each.phrase for each in placed}), len(placed))
            for i, each in enumerate(placed):
                left, top, right, bottom = each.box
                self.assertTrue(0 <= left < right <= SIDE and 0 <= top < bottom <= SIDE)
                self.assertTrue(LONGER_SIDE[0] <= max(right - left, bottom - top) <= LONGER_SIDE[1])
                self.assertGreaterEqual(min(right - left, bottom - top), SHORTER_SIDE)
                self.assertTrue(all(overlap(each.box, other.box) <= MAX_OVERLAP for other in placed[:i]))
            again, same_photograph, same = compose(f"test {number}", self.photographs, self.stamps)
            self.assertEqual((again.tobytes(), same_photograph.name, same), (scene.tobytes(), photograph.name, placed))


if __name__ == "__main__":
    unittest.main()
