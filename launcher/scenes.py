"""Scenes: stamps put on a photograph, with the box of each."""

import re
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image

from made_sets import digest
from stamps import opaque_pixels, visible_box

SIDE = 224                  # pixels of a scene, which is square
MOST_STAMPS = 5
LONGER_SIDE = (40, 120)     # pixels of a box, at least and at most
SHORTER_SIDE = 16           # at least
MAX_OVERLAP = 0.1           # of the smaller of two boxes
MIN_CONTRAST = 30           # mean difference of a stamp from what it covers, of 255
MAX_PHRASE = 60             # characters
TRIES = 30                  # to place a stamp, before the scene does without it
# The photographs show buildings, which have no boxes: to find the drawn ones alone would be a riddle.
LEFT_OUT = ("town",)


class Placed(NamedTuple):
    name: str       # the stamp's
    category: str
    phrase: str
    box: tuple      # (left, top, right, bottom) in pixels of the scene, right and bottom excluded


def phrase_of(caption):
    """What stands first in an English caption, as within a sentence: "The caboose--a carriage." is "the caboose"."""
    phrase = re.split(r"[.,:;!?]+(?:\s|$)|\s*(?:--|[\u2012-\u2015(])", caption.strip())[0]
    first, space, rest = phrase.partition(" ")
    return f"{first.lower()}{space}{rest}" if first in ("A", "An", "The", "Some", "One") else phrase


def can_be_placed(stamp):
    return stamp.category not in LEFT_OUT and 0 < len(phrase_of(stamp.captions["en"])) <= MAX_PHRASE


def overlap(box, other):
    """The boxes' common area as a share of the smaller one's."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((each[2] - each[0]) * (each[3] - each[1]) for each in (box, other))


def crop_of(photograph, random):
    """A square of the photograph, between 0.6 and all of its shorter side, mirrored half of the times."""
    width, height = photograph.size
    side = round(min(width, height) * random.uniform(0.6, 1))
    left, top = random.randint(0, width - side), random.randint(0, height - side)
    square = photograph.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else square


def resized(image, longer_side):
    """The part of the picture around its opaque pixels, scaled so; None where too little is left."""
    image = image.crop(visible_box(image))
    scale = longer_side / max(image.size)
    image = image.resize(tuple(max(1, round(length * scale)) for length in image.size), Image.Resampling.BILINEAR)
    box = visible_box(image)
    if box is None:
        return None
    image = image.crop(box)  # nothing outside of the box is touched
    return image if min(image.size) >= SHORTER_SIDE and max(image.size) >= LONGER_SIDE[0] else None


def contrast(scene, picture, box):
    """How much the opaque pixels differ from what they cover, on average."""
    under = np.asarray(scene.crop(box), np.float32)
    over = np.asarray(picture, np.float32)[..., :3]
    return float(np.abs(under - over)[opaque_pixels(picture)].mean())


def place(scene, stamp, others, random):
    """Puts the stamp on the scene where it keeps the rules above; its box, or None if no place was found."""
    for _ in range(TRIES):
        picture = resized(stamp.image, random.randint(*LONGER_SIDE))
        if picture is None:
            continue
        left, top = (random.randint(0, SIDE - length) for length in picture.size)
        box = left, top, left + picture.width, top + picture.height
        if any(overlap(box, other.box) > MAX_OVERLAP for other in others) or contrast(scene, picture, box) < MIN_CONTRAST:
            continue
        scene.paste(picture, box[:2], picture)
        return box
    return None


def compose(name, photographs, stamps):
    """(scene, photograph, [Placed]): 1 to MOST_STAMPS stamps, no two with one phrase; the name alone decides of them.

    A category is drawn by the square root of the number of its stamps: between all alike and all stamps alike.
    """
    random = Random(digest(name))
    by_category = {}
    for stamp in stamps:
        by_category.setdefault(stamp.category, []).append(stamp)
    categories = sorted(by_category)
    weights = [len(by_category[category]) ** 0.5 for category in categories]
    photograph = random.choice(photographs)
    while True:
        scene, placed = crop_of(photograph.image, random), []
        for _ in range(random.randint(1, MOST_STAMPS)):
            stamp = random.choice(by_category[random.choices(categories, weights)[0]])
            phrase = phrase_of(stamp.captions["en"])
            if any(phrase.casefold() == other.phrase.casefold() for other in placed):
                continue
            if box := place(scene, stamp, placed, random):
                placed.append(Placed(stamp.name, stamp.category, phrase, box))
        if placed:
            return scene, photograph, placed
