#!/usr/bin/python3
"""Makes image-text pairs out of the Debian packages `openclipart-png` and `openclipart-svg`: drawings and what they show.

Two sets come out below DIR/sources, train and test, each a folder with images/, captions.jsonl and classes.txt as
`triptych ingest pairs` reads them. The pictures are the PNG of the one package, at most 256 pixels a side; captions are
made of the file's name and of title, keywords and description in the other's drawing; the label is the folder. Of
drawings that look the same the first is kept. Drawings whose names differ by a number alone are in one set.

The packages are fetched with `apt-get download` and read in place; nothing is installed. The same packages give the
same sets. docs/clipart-data.md says more, and the licence.
"""

import argparse
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from clipart_captions import FREE_LICENCES, captions_of, name_of, read_metadata
from debian_packages import fetch_packages, walk_members
from made_sets import held_out, make_once, open_picture, shrunk, write_lines, write_png
from messages import say

# Written into sources/stamp.json: raise it whenever what this script and the modules beside it make changes.
VERSION = 1

PNG, SVG = PACKAGES = ("openclipart-png", "openclipart-svg")
PNG_FOLDER, SVG_FOLDER = "usr/share/openclipart/png/", "usr/share/openclipart/svg/"
# 1,375 regular stars that a program drew, and drawings that the collectors set aside as doubles.
LEFT_OUT = ("shapes/stars/star_", "unsorted/duplicates/")
SIDE = 256
MIN_SIDE = 16
HELD_OUT_ONE_IN = 20
# The standard deviation over pixels and channels, of 255, below which a picture on white is blank.
MIN_DEVIATION = 2


def on_white(image):
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def read_all_metadata(deb):
    """{path without ending: Metadata}"""
    found = {}
    for path, data in walk_members(deb, (SVG_FOLDER,), (".svg",)):
        if metadata := read_metadata(data):
            found[path.removeprefix(SVG_FOLDER).removesuffix(".svg")] = metadata
        if len(found) % 1000 == 0:
            say(f"{len(found)} descriptions read")
    return found


def choose(deb, metadata, folder):
    """Writes the pictures that are kept to folder/images; returns ([(path without ending, captions)], Counter of the rest).

    They come in the order of their paths, whatever the package's order, so that it does not say which of two is kept.
    """
    titles = Counter(each.title for each in metadata.values())
    descriptions = Counter(each.description for each in metadata.values())
    dropped, looks = Counter(), {}
    for number, (path, data) in enumerate(walk_members(deb, (PNG_FOLDER,), (".png",))):
        if number and number % 1000 == 0:
            say(f"{number} drawings looked at")
        path = path.removeprefix(PNG_FOLDER).removesuffix(".png")
        if path.startswith(LEFT_OUT):
            dropped["regular stars, doubles set aside"] += 1
            continue
        said = metadata.get(path)
        if said is None or said.licence not in FREE_LICENCES:
            dropped["no description, or another licence"] += 1
            continue
        captions = captions_of(name_of(path.rsplit("/", 1)[-1], said.author), said, titles[said.title],
                               descriptions[said.description])
        if not captions:
            dropped["nothing said"] += 1
            continue
        image = open_picture(path, data)
        if image is None:
            dropped["more than 4 megapixels"] += 1
            continue
        image = shrunk(image, SIDE)
        seen = on_white(image)
        if min(image.size) < MIN_SIDE or np.asarray(seen, np.float32).std() < MIN_DEVIATION:
            dropped[f"less than {MIN_SIDE} pixels a side, or blank"] += 1
            continue
        look = hashlib.sha256(f"{seen.size}".encode() + seen.tobytes()).digest()
        looks.setdefault(look, []).append((path, captions))
        write_png(image, folder / picture_name(path))
    kept = []
    for same in looks.values():
        same.sort()
        kept.append(same[0])
        dropped["the same picture as another"] += len(same) - 1
        for path, _ in same[1:]:
            (folder / picture_name(path)).unlink()
    return sorted(kept), dropped


def picture_name(path):
    """A name of our own, with nothing of the archive's: the number of the path."""
    return f"{hashlib.sha256(path.encode()).hexdigest()[:16]}.png"


def id_of(path):
    return int(hashlib.sha256(path.encode()).hexdigest()[:13], 16)  # 52 bits: exact in every JSON reader


def make_sets(pictures_deb, drawings_deb, folder):
    metadata = read_all_metadata(drawings_deb)
    kept, dropped = choose(pictures_deb, metadata, folder / "images")
    categories = sorted({path.split("/")[0] for path, _ in kept})

    def family(path):
        return "/".join(path.split("/")[:-1] + [name_of(path.rsplit("/", 1)[-1], metadata[path].author)])

    test_families = held_out((family(path) for path, _ in kept), HELD_OUT_ONE_IN)
    facts = [f"{len(kept)} drawings kept of {len(kept) + sum(dropped.values())}; not: "
             + ", ".join(f"{count} {why}" for why, count in sorted(dropped.items()))]
    for name in ("train", "test"):
        members = [(path, captions) for path, captions in kept if (family(path) in test_families) == (name == "test")]
        images = folder / name / "images"
        images.mkdir(parents=True)
        lines = []
        for path, captions in members:
            (folder / "images" / picture_name(path)).rename(images / picture_name(path))
            lines.append({"image": picture_name(path), "captions": captions, "id": id_of(path),
                          "label": categories.index(path.split("/")[0]), "drawing": path})
        write_lines(folder / name, lines, categories)
        facts.append(f"{name}: {len(lines)} images of {len({line['label'] for line in lines})} folders, "
                     f"{sum(len(line['captions']) for line in lines)} captions")
    (folder / "images").rmdir()
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/clipart"), metavar="DIR",
                        help="the sets go to DIR/sources, the packages to DIR/packages (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="make the sets again even if they are there")
    options = parser.parse_args()

    debs = fetch_packages(options.out / "packages", PACKAGES)
    made_from = {"version": VERSION, "packages": sorted(deb.name for deb in debs.values())}
    make_once(options.out, made_from, options.fresh, lambda folder: make_sets(debs[PNG], debs[SVG], folder))


if __name__ == "__main__":
    main()
