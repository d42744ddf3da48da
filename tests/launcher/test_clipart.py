#!/usr/bin/python3
"""Clip art's captions and choice, on drawings and packages made here."""

import io
import json
import subprocess
import sys
import tempfile
import unittest
import unittest.mock
from pathlib import Path

from PIL import Image, ImageDraw

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / "launcher"))
from clipart_captions import Metadata, captions_of, clean_title, name_of, read_metadata  # noqa: E402
from debian_packages import walk_members  # noqa: E402
from make_clipart_data import make_sets  # noqa: E402

SVG = """<?xml version="1.0"?>
<!DOCTYPE svg [<!ENTITY e "entity">]>
<svg xmlns="http://www.w3.org/2000/svg"><metadata>
<rdf:RDF xmlns="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><Work rdf:about="">
<dc:title>{title}</dc:title><dc:description>An old
 {title} &e;</dc:description>
<dc:subject><rdf:Bag><rdf:li>hash</rdf:li><rdf:li></rdf:li><rdf:li>Ball</rdf:li><rdf:li>toy</rdf:li></rdf:Bag></dc:subject>
<dc:publisher><Agent><dc:title>The Library</dc:title></Agent></dc:publisher>
<dc:creator><Agent><dc:title>Nicole Elena</dc:title></Agent></dc:creator>
<license rdf:resource="{licence}"/></Work></rdf:RDF></metadata>{rest}</svg>"""
PUBLIC_DOMAIN = "http://web.resource.org/cc/PublicDomain"


def svg(title, licence=PUBLIC_DOMAIN, rest=""):
    return SVG.format(title=title, licence=licence, rest=rest).encode()


def png(colour, size=(40, 30)):
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((5, 5, 20, 20), fill=colour)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


class Captions(unittest.TestCase):
    def test_metadata_is_that_of_the_work_alone(self):
        self.assertEqual(read_metadata(svg("Ball")), Metadata("Ball", "An old Ball entity", ("hash", "Ball", "toy"),
                                                              "Nicole Elena", PUBLIC_DOMAIN))
        self.assertEqual(read_metadata(svg("Ball", rest="<broken" + " " * 50000)).title, "Ball")  # not read so far
        self.assertIsNone(read_metadata(b"<svg><metadata/></svg>"))
        self.assertIsNone(read_metadata(b"no XML"))
        self.assertIsNone(read_metadata(b""))

    def test_entities_cannot_fill_the_memory(self):
        bomb = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 20}">' for i in range(9))
        text = svg("&e9;").decode().replace('<!ENTITY e "entity">', f'<!ENTITY e "x"><!ENTITY e0 "{"x" * 100}">{bomb}')
        self.assertIsNone(read_metadata(text.encode()))

    def test_names_lose_numbers_and_authors(self):
        for stem, author, name in (("math_sum", "", "math sum"), ("smiley109", "", "smiley"), ("arrow05_4", "", "arrow"),
                                   ("elephant_outline_nicole_e_01", "Nicole Elena", "elephant outline"),
                                   ("nicole", "Nicole", "nicole"), ("shadowB", "", "shadow b"), ("0123_4", "", ""),
                                   ("button-red_benji_park_01", "Benji Park", "button red")):
            self.assertEqual(name_of(stem, author), name)

    def test_titles_that_say_nothing_are_dropped(self):
        for title, cleaned in (("Elephant_Outline 2", "Elephant Outline"), ("Clipart by Nicu - piggybank", ""),
                               ("Various Cliparts", ""), ("Nicole Elena", ""), ("Clippings", "Clippings"), ("", "")):
            self.assertEqual(clean_title(title, "Nicole Elena"), cleaned)

    def test_captions(self):
        said = read_metadata(svg("Red Ball"))
        self.assertEqual(captions_of("red ball", said, 1, 1), ["red ball", "red ball: ball, toy", "An old Red Ball entity"])
        self.assertEqual(captions_of("ball red", said, 3, 4), ["ball red", "Red Ball", "ball red: ball, toy"])
        self.assertEqual(captions_of("x", said, 4, 4), [])
        self.assertEqual(captions_of("", said._replace(description="write to a@example.org"), 1, 1),
                         ["Red Ball", "Red Ball: ball, toy"])


class Choice(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="triptych_clipart_")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)

    def package(self, kind, files):
        tree = self.folder / kind
        for name, data in files.items():
            (tree / "usr/share/openclipart" / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / "usr/share/openclipart" / kind / name).write_bytes(data)
        (tree / "DEBIAN").mkdir()
        (tree / "DEBIAN/control").write_text(f"Package: openclipart-{kind}\nVersion: 1\nArchitecture: all\n"
                                             "Maintainer: nobody <n@example.org>\nDescription: test\n")
        (tree / f"usr/share/openclipart/{kind}/toys/link.{kind}").symlink_to("/etc/passwd")
        deb = self.folder / f"openclipart-{kind}_1_all.deb"
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, deb], check=True,
                       stdout=subprocess.DEVNULL)
        return deb

    def test_each_drawing_is_taken_once_and_none_is_in_both_sets(self):
        pictures = {f"toys/{name}_{i}.png": png((5 * i, 200, 255, 255))
                    for i, name in enumerate(("ball", "kite", "doll", "ball", "top", "drum", "yo_yo", "bear") * 6)}
        drawings = {name.replace(".png", ".svg"): svg(name) for name in pictures}
        pictures |= {"a/same.png": png((10, 200, 255, 255)), "toys/undescribed.png": png("red"), "toys/own.png": png("red"),
                     "toys/blank.png": png((255, 255, 255, 255)), "toys/tiny.png": png("red", (40, 15)),
                     "toys/huge.png": png("red", (2001, 2000)), "shapes/stars/star_1.png": png("red"), "toys/1.png": png("red")}
        drawings |= {f"{name}.svg": svg("", licence) for name, licence in
                     (("a/same", ""), ("toys/own", "http://creativecommons.org/licenses/GPL/2.0/"), ("toys/blank", ""),
                      ("toys/tiny", ""), ("toys/huge", ""), ("shapes/stars/star_1", ""), ("toys/1", ""))}
        packages = self.package("png", pictures), self.package("svg", drawings)
        with unittest.mock.patch("make_clipart_data.walk_members", lambda *which: reversed(list(walk_members(*which)))):
            facts = make_sets(*packages, self.folder / "sources")
        self.assertEqual(facts[0], "48 drawings kept of 56; not: 2 less than 16 pixels a side, or blank, 1 more than 4 "
                         "megapixels, 2 no description, or another licence, 1 nothing said, 1 regular stars, doubles set "
                         "aside, 1 the same picture as another")
        lines = {name: [json.loads(line) for line in (self.folder / f"sources/{name}/captions.jsonl").read_text().splitlines()]
                 for name in ("train", "test")}
        names = {name: {line["captions"][0] for line in each} for name, each in lines.items()}
        self.assertFalse(names["train"] & names["test"])
        self.assertEqual(names["train"] | names["test"], {"same", "ball", "kite", "doll", "top", "drum", "yo yo", "bear"})
        drawn = {line["drawing"] for each in lines.values() for line in each}
        self.assertIn("a/same", drawn)  # before toys/doll_2, whatever the order in the package
        self.assertNotIn("toys/doll_2", drawn)
        for name, each in lines.items():
            files = {file.name for file in (self.folder / "sources" / name / "images").iterdir()}
            self.assertEqual(files, {line["image"] for line in each})


if __name__ == "__main__":
    unittest.main()
