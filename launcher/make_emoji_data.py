#!/usr/bin/python3
"""Makes image-text pairs out of Debian packages: emoji drawings with their Unicode names.

Three sets come out, each a folder with images/ and captions.jsonl as `triptych ingest pairs` reads them:

  train            Noto's drawings (skin tones too) and Symbola's, of the training concepts
  unseen_style     EmojiOne's drawings of the training concepts: a hand that training never saw
  unseen_concepts  Noto's drawings of the held-out concepts: things that training never saw

The captions of a drawing are of one of two kinds:

  keywords         up to six: names, keywords and the group, in English and Chinese, to learn to find pictures by
  names            two: "en: " and the English name, "zh: " and the Chinese one, to learn to write after a prompt;
                   without the drawings with a skin tone, whose names differ by that alone

The packages are fetched with `apt-get download` and read in place; nothing is installed. The same packages give the
same bytes. docs/quickstart-data.md says what is in the sets, why, and under which licences.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from debian_packages import fetch_packages, read_members
from emoji_drawings import EmojiOne, NotoFont, SymbolaFont
from emoji_names import CAPTIONS, EMOJI_PRESENTATION, SKIN_TONES, Annotations, is_held_out, read_emoji_test, without
from made_sets import make_once, write_lines
from messages import say

# Written into sources/stamp.json: raise it whenever what this script and the emoji_*.py beside it make changes.
VERSION = 2

PACKAGES = {
    "fonts-noto-color-emoji": ("usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",),
    "fonts-symbola": ("usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf",),
    "ruby-gemojione": ("usr/share/rubygems-integration/all/gems/gemojione-",),
    "unicode-cldr-core": tuple(
        f"usr/share/unicode/cldr/common/{folder}/{language}.xml"
        for folder in ("annotations", "annotationsDerived")
        for language in ("en", "zh")
    ),
    "unicode-data": ("usr/share/unicode/emoji/emoji-test.txt",),
}
NOTO, SYMBOLA, GEMOJIONE, CLDR, UNICODE = PACKAGES

# A sample's id tells its source; below it stands the concept's number, or the toned sequence's.
ID_NOTO, ID_SYMBOLA, ID_EMOJIONE, ID_NOTO_TONED = 100000, 200000, 300000, 400000


class Sample(NamedTuple):
    id: int
    file: str
    png: bytes
    captions: list
    concept: int  # its number
    group: int  # the sample's label


# ---- the three sets


def make_sets(members, captions_of, with_tones):
    """Returns ({set: [Sample]}, the names of the labels, facts to print); captions_of is a function of emoji_names.CAPTIONS."""
    emoji = read_emoji_test(members[UNICODE][PACKAGES[UNICODE][0]].decode())
    cldr = PACKAGES[CLDR]
    english = Annotations(*(members[CLDR][path] for path in cldr if path.endswith("/en.xml")))
    chinese = Annotations(*(members[CLDR][path] for path in cldr if path.endswith("/zh.xml")))
    noto = NotoFont(members[NOTO][PACKAGES[NOTO][0]])
    symbola = SymbolaFont(members[SYMBOLA][PACKAGES[SYMBOLA][0]])
    emojione = EmojiOne(members[GEMOJIONE])

    concepts = [each for each in emoji if not each.is_toned()]
    toned = [each for each in emoji if each.is_toned()]
    groups = list(dict.fromkeys(each.group for each in emoji))  # in Unicode's order
    number_of = {without(each.code_points, EMOJI_PRESENTATION): number for number, each in enumerate(concepts)}
    drawn = {"Noto": 0, "Symbola": 0, "EmojiOne": 0}
    sets = {"train": [], "unseen_style": [], "unseen_concepts": []}

    def add(set_name, style, id, each, png, concept):
        captions = captions_of(each, english, chinese)
        sets[set_name].append(
            Sample(id, f"{style}_{each.file_stem()}.png", png, captions, concept, groups.index(each.group)))

    for number, each in enumerate(concepts):
        held_out = is_held_out(each)
        if png := noto.png(each):
            drawn["Noto"] += 1
            add("unseen_concepts" if held_out else "train", "noto", ID_NOTO + number, each, png, number)
        if png := symbola.png(each):
            drawn["Symbola"] += 1
            if not held_out:
                add("train", "symbola", ID_SYMBOLA + number, each, png, number)
        if png := emojione.png(each):
            drawn["EmojiOne"] += 1
            if not held_out:
                add("unseen_style", "emojione", ID_EMOJIONE + number, each, png, number)

    num_toned = 0
    for number, each in enumerate(toned if with_tones else []):
        # Of couples only those of one tone: all 25 mixtures would be a fifth of the set, for two drawings' worth.
        if len(set(each.tones())) > 1 or is_held_out(each):
            continue
        plain = number_of.get(without(each.code_points, EMOJI_PRESENTATION, *SKIN_TONES))
        png = noto.png(each)
        if png and plain is not None:
            num_toned += 1
            add("train", "noto", ID_NOTO_TONED + number, each, png, plain)

    held_out_concepts = sum(is_held_out(each) for each in concepts)
    facts = [f"{len(concepts)} concepts, {held_out_concepts} of them held out",
             "base drawings: " + ", ".join(f"{style} {count}" for style, count in drawn.items())
             + f", together {sum(drawn.values())}; {num_toned} more of Noto's with a skin tone are trained on"]
    return sets, [name.replace("&", "and").lower() for name in groups], facts


def write_set(folder, samples, classes):
    (folder / "images").mkdir(parents=True)
    for sample in samples:
        (folder / "images" / sample.file).write_bytes(sample.png)
    write_lines(folder, [{"image": sample.file, "captions": sample.captions, "id": sample.id, "label": sample.group}
                         for sample in samples], classes)


def draw_contact_sheet(sources, file):
    """Every eighth drawing of each set on one page, to look at."""
    columns, cell, page = 48, 40, []
    for set_name in ("train", "unseen_style", "unseen_concepts"):
        lines = (sources / set_name / "captions.jsonl").read_text(encoding="utf-8").splitlines()
        step = 8 if len(lines) > 1000 else 2
        page += [sources / set_name / "images" / json.loads(line)["image"] for line in lines[::step]]
        page += [None] * (-len(page) % columns + columns)  # an empty row between the sets
    sheet = Image.new("RGB", (columns * cell, len(page) // columns * cell), "white")
    for place, image_file in enumerate(page):
        if image_file:
            image = Image.open(image_file).convert("RGBA")
            image.thumbnail((cell - 4, cell - 4))
            sheet.paste(image, (place % columns * cell + 2, place // columns * cell + 2), image)
    sheet.save(file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/emoji"), metavar="DIR",
                        help="the sets go to DIR/sources, the packages to DIR/packages (default: %(default)s)")
    parser.add_argument("--captions", choices=tuple(CAPTIONS), default="keywords",
                        help="what is said of a drawing (default: %(default)s)")
    parser.add_argument("--packages", type=Path, metavar="DIR",
                        help="another folder for the packages, such as one that has them (default: packages in --out)")
    parser.add_argument("--fresh", action="store_true", help="make the sets again even if they are there")
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE.png", help="also draw a page of samples, to look at")
    options = parser.parse_args()

    debs = fetch_packages(options.packages or options.out / "packages", PACKAGES)

    def make(folder):
        members = {package: read_members(deb, PACKAGES[package]) for package, deb in debs.items()}
        sets, classes, facts = make_sets(members, CAPTIONS[options.captions], options.captions == "keywords")
        for set_name, samples in sets.items():
            write_set(folder / set_name, samples, classes)
        return facts + [f"{name}: {len(samples)} images of {len({sample.concept for sample in samples})} concepts, "
                        f"{sum(len(sample.captions) for sample in samples)} captions" for name, samples in sets.items()]

    made_from = {"version": VERSION, "packages": sorted(deb.name for deb in debs.values()), "captions": options.captions}
    make_once(options.out, made_from, options.fresh, make)
    if options.contact_sheet:
        draw_contact_sheet(options.out / "sources", options.contact_sheet)
        say(f"contact sheet: {options.contact_sheet}")


if __name__ == "__main__":
    main()
