"""Tux Paint's stamps: pictures with captions in many languages, their categories, and which are held out."""

import hashlib
import re
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from messages import fail, say
from made_sets import held_out, open_picture

PACKAGE = "tuxpaint-stamps-default"
FOLDER = "usr/share/tuxpaint/stamps/"
HELD_OUT_ONE_IN = 5

# By the codes of the caption files; what a caption's language is called in ours.
LANGUAGES = {"de": "de", "fr": "fr", "es": "es", "ja": "ja", "zh_CN": "zh"}
# Kana, CJK ideographs and full-width forms: a Japanese or Chinese caption without any was not translated.
EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]")
TRANSLATION = re.compile(r"([A-Za-z_@]+)\.utf8=(.*)")


class Stamp(NamedTuple):
    name: str        # "animals/birds/chicken": its path without the ending
    captions: dict   # {"en": "A chicken.", "de": ...}: English first, then those of LANGUAGES that are there
    num_languages: int
    image: Image.Image

    @property
    def category(self):
        return self.name.split("/")[0]

    @property
    def folder(self):
        """The folder below the category, such as "birds", or None."""
        parts = self.name.split("/")
        return parts[1] if len(parts) > 2 else None


def read_captions(name, data):
    """({language: caption}, number of languages) of a caption file: English, then lines such as "de.utf8=Ein Huhn."."""
    try:
        lines = [line.strip() for line in data.decode().splitlines()]
    except UnicodeDecodeError as error:
        fail(name, f"is not UTF-8: {error}. Delete the package and run again.")
    if not lines or not lines[0] or TRANSLATION.fullmatch(lines[0]):
        fail(name, "must begin with the English caption. Delete the package and run again.")
    captions = {"en": lines[0]}
    found = {match[1]: match[2].strip() for line in lines[1:] if (match := TRANSLATION.fullmatch(line)) and match[2].strip()}
    for code, language in LANGUAGES.items():
        caption = found.get(code, "")
        is_translated = EAST_ASIAN.search(caption) if language in ("ja", "zh") else caption not in ("", lines[0])
        if is_translated:
            captions[language] = caption
    return captions, 1 + len(found)


def read_stamps(members):
    """All stamps that have a picture and captions, in the order of their names; members are {path: bytes}.

    One picture in two categories has no category that a model could tell: both stamps are left out.
    """
    def look(image):
        return image.size, hashlib.sha256(image.tobytes()).digest()

    stamps, categories = [], {}
    for path in sorted(members):
        name = path.removeprefix(FOLDER).removesuffix(".png")
        captions = members.get(path.removesuffix(".png") + ".txt")
        if not path.endswith(".png") or captions is None or len(PurePosixPath(name).parts) < 2:
            continue
        image = open_picture(path, members[path])
        if image is None or visible_box(image) is None:
            continue
        stamps.append(Stamp(name, *read_captions(path, captions), image))
        if len(stamps) % 200 == 0:
            say(f"{len(stamps)} stamps read")
        categories.setdefault(look(image), set()).add(stamps[-1].category)
    stamps = [stamp for stamp in stamps if len(categories[look(stamp.image)]) == 1]
    if not stamps:
        fail("stamps", f"{PACKAGE} has no stamp that can be used. Check that apt's sources are Debian 12's.")
    return stamps


def categories_of(stamps):
    """In the order of their numbers."""
    return sorted({stamp.category for stamp in stamps})


def sets_of(stamps):
    """{"train": stamps, "test": stamps}: of every category a fifth is held out, and what has one caption stays together."""
    def key(stamp):
        return stamp.captions["en"].casefold()

    test_keys = set()
    for category in categories_of(stamps):
        test_keys |= held_out((key(stamp) for stamp in stamps if stamp.category == category), HELD_OUT_ONE_IN)
    sets = {"train": [], "test": []}
    for stamp in stamps:
        sets["test" if key(stamp) in test_keys else "train"].append(stamp)
    return sets


def opaque_pixels(image):
    """True where an RGBA picture covers more than it lets through: [height, width]."""
    return np.asarray(image)[..., 3] >= 128


def visible_box(image):
    """(left, top, right, bottom) around the opaque pixels, right and bottom excluded; None if there is none."""
    opaque = opaque_pixels(image)
    columns, rows = np.flatnonzero(opaque.any(axis=0)), np.flatnonzero(opaque.any(axis=1))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
