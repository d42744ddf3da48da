"""GCompris' photographs of places: those that are in the public domain, out of the package's resource files."""

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from PIL import Image

from messages import fail
from made_sets import held_out, open_picture
from qt_resources import QtResources

PACKAGE = "gcompris-qt-data"
FOLDER = "usr/share/gcompris-qt/rcc/"
HELD_OUT_ONE_IN = 5
# Resource files, and what the paths of photographs in them look like: buildings, landscapes, sea; no animals.
PLACES = {
    "explore_monuments.rcc": re.compile(r".*/explore_monuments/resource/\w+/\w+\.webp"),
    "clickgame.rcc": re.compile(r".*/clickgame/resource/sea\d+\.webp"),
    "categorization.rcc": re.compile(r".*/categorization/resource/images/(monuments|renewable)/\w+\.webp"),
}
FREE_LICENCES = ("cc0", "public domain")
# Pixels of the shorter side, at least.
MIN_SIDE = 200


class Photograph(NamedTuple):
    name: str     # "explore_monuments/egypt/bentPyramid"
    author: str   # as the package names them
    licence: str
    source: str   # the address of the original
    image: Image.Image


def read_credits(text):
    """{file: (author, licence, source)} of a README: paragraphs of "Key: value" lines, files listed below "Files:"."""
    credits = {}
    for paragraph in re.split(r"\n\s*\n", text):
        fields, files, in_files = {}, [], False
        for line in paragraph.splitlines():
            key, colon, value = line.partition(":")
            if colon and key.strip() in ("Copyright", "License", "Source", "Comments", "Comment", "Files"):
                in_files = key.strip() == "Files"
                if not in_files:
                    fields[key.strip()] = value.strip()
                elif value.strip():
                    files.append(value.strip())
            elif in_files and line.strip():
                files.append(line.strip())
        for file in files:
            credits[file] = fields.get("Copyright", ""), fields.get("License", ""), fields.get("Source", "")
    return credits


def read_photographs(members):
    """All photographs of places that are free of conditions and large enough, one of each original, the largest; in the order
    of their names. members are {path: bytes}."""
    by_source = {}
    for resource_name, pattern in PLACES.items():
        path = FOLDER + resource_name
        if path not in members:
            fail(PACKAGE, f"has no {path}. Check that apt's sources are Debian 12's.")
        resources = QtResources(path, members[path])
        readmes = {PurePosixPath(each).parent: each for each in resources.paths() if PurePosixPath(each).name == "README"}
        credits = {}
        for folder, readme in readmes.items():
            text = resources.read(readme).decode("utf-8", "replace")
            credits |= {str(folder / file): credit for file, credit in read_credits(text).items()}
        for file in filter(pattern.fullmatch, resources.paths()):
            author, licence, source = credits.get(file, ("", "", ""))
            if not licence.lower().startswith(FREE_LICENCES) or not source:
                continue
            image = open_picture(file, resources.read(file))
            if image is None or min(image.size) < MIN_SIDE:
                continue
            name = f"{resource_name.removesuffix('.rcc')}/{file.split('/resource/')[1].removesuffix('.webp')}"
            known = by_source.get(source)
            if known is None or image.width * image.height > known.image.width * known.image.height:
                by_source[source] = Photograph(name, author, licence, source, image.convert("RGB"))
    if not by_source:
        fail(PACKAGE, "has no photograph that can be used. Check that apt's sources are Debian 12's.")
    return sorted(by_source.values(), key=lambda photograph: photograph.name)


def sets_of(photographs):
    """{"train": photographs, "test": photographs}; a fifth is held out."""
    test_sources = held_out((photograph.source for photograph in photographs), HELD_OUT_ONE_IN)
    sets = {"train": [], "test": []}
    for photograph in photographs:
        sets["test" if photograph.source in test_sources else "train"].append(photograph)
    return sets
