#!/usr/bin/python3
"""Makes scenes to find things in: Tux Paint's stamps on GCompris' photographs, with the box of each stamp.

The scenes are composed: nobody photographed them. Two sets come out below DIR/sources, train and test, each a folder with
images/, captions.jsonl and classes.txt as `triptych ingest pairs` reads them. No stamp and no photograph is in both. A
line is a scene, 224 x 224 pixels, with one caption that lists what was put there, and these keys:

  boxes        [[left, top, right, bottom], ...] in pixels, right and bottom excluded
  classes      [number, ...] of the categories in classes.txt, one a box
  phrases      ["a badger", ...], one a box, and no two of a scene the same
  stamps, photograph   what it was made of; ingest passes over these two

The packages are fetched with `apt-get download` and read in place; nothing is installed. The same packages give the
same sets. docs/stamps-data.md says more, and the licences.
"""

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw

import photographs
import stamps
from debian_packages import fetch_packages, read_members
from made_sets import make_once, write_lines
from messages import say
from scenes import SIDE, can_be_placed, compose

# Written into sources/stamp.json: raise it whenever what this script and the modules beside it make changes.
VERSION = 2

NUM_SCENES = {"train": 3000, "test": 500}
JPEG_QUALITY = 90
# The ids of a set's scenes begin here.
FIRST_ID = {"train": 0, "test": 100_000}


def write_set(folder, stamps_of_set, photographs_of_set, categories):
    lines, counts = [], dict.fromkeys(categories, 0)
    for number in range(NUM_SCENES[folder.name]):
        scene, photograph, placed = compose(f"{folder.name} {number}", photographs_of_set, stamps_of_set)
        file = folder / "images" / f"{number // 1000:02}" / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        scene.save(file, "JPEG", quality=JPEG_QUALITY)
        for each in placed:
            counts[each.category] += 1
        lines.append({"image": f"{file.parent.name}/{file.name}", "captions": [", ".join(each.phrase for each in placed)],
                      "id": FIRST_ID[folder.name] + number, "boxes": [each.box for each in placed],
                      "classes": [categories.index(each.category) for each in placed],
                      "phrases": [each.phrase for each in placed], "stamps": [each.name for each in placed],
                      "photograph": photograph.name})
        if (number + 1) % 500 == 0:
            say(f"{folder.name}: {number + 1} of {NUM_SCENES[folder.name]} scenes")
    write_lines(folder, lines, categories)
    return (f"{folder.name}: {len(lines)} scenes of {len(stamps_of_set)} stamps and {len(photographs_of_set)} photographs, "
            f"{sum(counts.values())} boxes: " + ", ".join(f"{category} {count}" for category, count in counts.items()))


def make_sets(folder, all_stamps, all_photographs):
    placeable = {name: list(filter(can_be_placed, members)) for name, members in stamps.sets_of(all_stamps).items()}
    categories = stamps.categories_of(placeable["train"])
    photographs_of = photographs.sets_of(all_photographs)
    facts = [f"{sum(map(len, placeable.values()))} of {len(all_stamps)} stamps, {len(all_photographs)} photographs"]
    for name, members in placeable.items():
        facts.append(write_set(folder / name, members, photographs_of[name], categories))
    credits = [{"photograph": each.name, "author": each.author, "licence": each.licence, "source": each.source}
               for each in all_photographs]
    (folder / "credits.json").write_text(json.dumps(credits, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def draw_contact_sheet(sources, file):
    """The first scenes of both sets on one page with their boxes, to look at."""
    columns, rows = 6, 3
    sheet = Image.new("RGB", (columns * SIDE, 2 * rows * SIDE), "white")
    for set_number, set_name in enumerate(("train", "test")):
        folder = sources / set_name
        classes = (folder / "classes.txt").read_text(encoding="utf-8").splitlines()
        lines = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()[:columns * rows]
        for place, line in enumerate(map(json.loads, lines)):
            scene = Image.open(folder / "images" / line["image"])
            draw = ImageDraw.Draw(scene)
            for box, number, phrase in zip(line["boxes"], line["classes"], line["phrases"]):
                # Around the box: its own pixels stay to be seen.
                draw.rectangle((box[0] - 1, box[1] - 1, box[2], box[3]), outline="red")
                draw.text((box[0], box[1] - 11), f"{classes[number]}: {phrase}".encode("latin-1", "replace"), fill="yellow")
            sheet.paste(scene, (place % columns * SIDE, (place // columns + set_number * rows) * SIDE))
    sheet.save(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/scenes"), metavar="DIR",
                        help="the sets go to DIR/sources, the photographs' package to DIR/packages (default: %(default)s)")
    parser.add_argument("--stamp-packages", type=Path, metavar="DIR",
                        help="another folder for the stamps' package, such as one that has it (default: packages in --out)")
    parser.add_argument("--fresh", action="store_true", help="make the sets again even if they are there")
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE.png", help="also draw a page of scenes, to look at")
    options = parser.parse_args()

    packages = options.out / "packages"
    stamps_deb = fetch_packages(options.stamp_packages or packages, [stamps.PACKAGE])[stamps.PACKAGE]
    photographs_deb = fetch_packages(packages, [photographs.PACKAGE])[photographs.PACKAGE]

    def make(folder):
        all_stamps = stamps.read_stamps(read_members(stamps_deb, (stamps.FOLDER,), (".png", ".txt")))
        resources = read_members(photographs_deb, (photographs.FOLDER,), tuple(photographs.PLACES))
        all_photographs = photographs.read_photographs(resources)
        say(f"{len(all_stamps)} stamps, {len(all_photographs)} photographs; composing the scenes")
        return make_sets(folder, all_stamps, all_photographs)

    made_from = {"version": VERSION, "packages": sorted((stamps_deb.name, photographs_deb.name)), "scenes": NUM_SCENES}
    make_once(options.out, made_from, options.fresh, make)
    if options.contact_sheet:
        draw_contact_sheet(options.out / "sources", options.contact_sheet)
        say(f"contact sheet: {options.contact_sheet}")


if __name__ == "__main__":
    main()
