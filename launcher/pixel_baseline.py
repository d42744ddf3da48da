#!/usr/bin/python3
"""What is reached without learning: the training picture that looks most alike, at 32 x 32 pixels, is asked.

For each evaluation set, as far as it has labels and captions:

  top-1 accuracy             the label of the nearest training picture
  chrF                       its first caption as the picture's caption, against all of the picture's own
  image to text recall@k,    first captions, ranked for a picture i by the maximum over training pictures t of
  text to image recall@k     overlap(caption, caption of t) * exp(-d(i, t)^2 / s^2)

d is the Euclidean distance of the pixels, s^2 the median of d^2 to the nearest training picture, and overlap the Jaccard
index of the captions' words (1 if they are equal): so it can say something of things that training never saw, from the
words they share with others. Equal scores count as found before the right one.

Writes {"<folder of the set>": {"<metric>": value}}, which `triptych eval --baseline FILE` shows beside the model's.

example:
  launcher/pixel_baseline.py data/emoji/train data/emoji/unseen_style data/emoji/unseen_concepts --out raw_pixels.json
"""

import argparse
import io
import json
import os
import re
import sys
import time
from collections import Counter, defaultdict
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

import h5py
import numpy as np
from PIL import Image

from chrf import ChrfCounter

SIDE = 32
PIXELS = SIDE * SIDE * 3
BLOCK = 256            # evaluation pictures at a time
TRAINING_BLOCK = 8192  # training pictures at a time, as floats: 100 MB
DEEPEST = 10
NO_LABEL = -1
# One number for each training picture and each block of evaluation pictures, and 3 KB a picture: some 600 MB.
MAX_PICTURES = 100000
# Retrieval compares every picture of a set with every caption of it.
MAX_CANDIDATES = 10000


def fail(where, message) -> NoReturn:
    sys.exit(f"pixel_baseline: [{where}] {message}")


@lru_cache(maxsize=256)
def resize_weights(inputs, start, length):
    """[SIDE, inputs]: triangle filters as wide as the reduction, cut at the box, as src/data/transforms.h resizes."""
    scale = length / SIDE
    support = max(scale, 1.0)
    centers = start + (np.arange(SIDE) + 0.5) * scale
    places = np.arange(inputs)
    weights = np.maximum(0, 1 - np.abs(places + 0.5 - centers[:, None]) / support)
    weights[:, (places < np.floor(start)) | (places >= np.ceil(start + length))] = 0
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def small_picture(encoded):
    """The middle square of a picture as SIDE x SIDE RGB bytes, on white where it is transparent."""
    image = Image.open(io.BytesIO(encoded))
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"), np.float32)
    height, width, _ = pixels.shape
    side = min(width, height)
    down = resize_weights(height, (height - side) / 2, side)
    across = resize_weights(width, (width - side) / 2, side)
    rows = (down @ pixels.reshape(height, -1)).reshape(SIDE, width, 3)
    return np.rint(np.einsum("ywc,xw->yxc", rows, across)).astype(np.uint8)


class PictureSet:
    """The samples of a data set that have a picture, read as docs/shard-format.md says: small pictures, captions, labels.

    pixels [n, PIXELS] bytes, captions a list a sample, labels [n] with NO_LABEL where there is none.
    """

    def __init__(self, folder, max_pictures):
        shards = sorted(folder.glob("*.h5"), key=lambda path: path.name.encode())
        if not shards:
            fail(folder, "holds no shards (*.h5). Name a data set's folder.")
        self.name = Path(os.path.normpath(folder)).name
        pictures, self.captions, labels = [], [], []
        for path in shards:
            try:
                with h5py.File(path, "r") as shard:
                    self.read_shard_(shard, pictures, labels)
            except (OSError, KeyError) as error:
                fail(path, f"is no shard that can be read: {error}. Check it with `triptych inspect {folder} --verify`.")
            if len(pictures) > max_pictures:
                fail(folder, f"must have at most {max_pictures} pictures, found more: they are held in memory, {PIXELS} "
                     "bytes each. Raise --max-pictures, or leave this baseline out.")
        if not pictures:
            fail(folder, "has no picture.")
        self.pixels = np.stack(pictures)
        self.labels = np.array(labels, np.int64)

    def read_shard_(self, shard, pictures, labels):
        if shard.attrs.get("format") not in ("triptych-shard", b"triptych-shard"):
            raise OSError("its format is not triptych-shard")
        image_ends, caption_ends = shard["images/offsets"][:], shard["captions/offsets"][:]
        first = shard["captions/first"][:]
        texts = shard["captions/bytes"][:].tobytes()
        n = len(image_ends) - 1
        shard_labels = shard["samples/labels"][:] if "samples/labels" in shard else np.full(n, NO_LABEL)
        images = shard["images/bytes"]
        for i in range(n):
            if image_ends[i] == image_ends[i + 1]:
                continue
            pictures.append(small_picture(images[image_ends[i]:image_ends[i + 1]].tobytes()).reshape(-1))
            self.captions.append([texts[caption_ends[c]:caption_ends[c + 1]].decode()
                                  for c in range(first[i], first[i + 1])])
            labels.append(shard_labels[i])

    def __len__(self):
        return len(self.labels)

    def first_captions(self):
        return [captions[0] if captions else "" for captions in self.captions]


def centred(pixels):
    return pixels.astype(np.float32) / 255 - np.float32(0.5)


def between(ours, theirs):
    """Squared distances [len(ours), len(theirs)] of centred pictures."""
    our_lengths = np.einsum("ij,ij->i", ours, ours)[:, None]
    return np.maximum(our_lengths + np.einsum("ij,ij->i", theirs, theirs) - 2 * (ours @ theirs.T), 0)


def squared_distances(pictures, training):
    """[len(pictures), len(training)] of two arrays of pixels, the second one block after the other."""
    ours = centred(pictures)
    return np.concatenate([between(ours, centred(training[block])) for block in blocks(len(training), TRAINING_BLOCK)], 1)


def nearest_of(pictures, training):
    """For each picture the nearest training picture, the first of equals, and its squared distance."""
    nearest, distances = np.zeros(len(pictures), np.int64), np.full(len(pictures), np.inf, np.float32)
    for theirs in blocks(len(training), TRAINING_BLOCK):
        block = centred(training[theirs])
        for ours in blocks(len(pictures), BLOCK):
            found = between(centred(pictures[ours]), block)
            best = found.argmin(1)
            values = found[np.arange(len(best)), best]
            nearest[ours] = np.where(values < distances[ours], best + theirs.start, nearest[ours])
            distances[ours] = np.minimum(values, distances[ours])
    return nearest, distances


def blocks(count, size):
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


def words_of(caption):
    return frozenset(filter(None, re.split("[ ,:;]", caption)))


def match_captions(captions, training_captions):
    """For each caption the training captions that share a word with it: their numbers, and their overlaps."""
    training_words = [words_of(caption) for caption in training_captions]
    with_word = defaultdict(list)
    for number, words in enumerate(training_words):
        for word in words:
            with_word[word].append(number)
    matches = []
    for words in map(words_of, captions):
        shared = Counter(number for word in words for number in with_word.get(word, ()))
        numbers = np.fromiter(shared.keys(), np.int64, len(shared))
        overlaps = [count / (len(words) + len(training_words[number]) - count) for number, count in shared.items()]
        matches.append((numbers, np.array(overlaps, np.float32)))
    return matches


class RecallCounter:
    """Recall where query i's own candidate is candidate i; scores come in rows, of all queries or all candidates."""

    def __init__(self, n):
        self.own_ = np.zeros(n, np.float32)
        self.best_others_ = np.full((n, DEEPEST), -np.inf, np.float32)

    def add(self, queries, candidates, scores):
        """scores [queries, candidates]; the two are arrays of numbers."""
        is_own = queries[:, None] == candidates
        rows, columns = np.nonzero(is_own)
        self.own_[queries[rows]] = scores[rows, columns]
        others = np.where(is_own, -np.inf, scores)
        together = np.concatenate([self.best_others_[queries], others], axis=1)
        self.best_others_[queries] = np.partition(together, -DEEPEST, axis=1)[:, -DEEPEST:]

    def recall(self):
        before = (self.best_others_ >= self.own_[:, None]).sum(1)
        return {f"recall@{k}": float((before < k).mean()) for k in (1, 5, 10)}


def retrieval(evaluated, training, scale):
    n = len(evaluated)
    matches = match_captions(evaluated.first_captions(), training.first_captions())
    to_text, to_image = RecallCounter(n), RecallCounter(n)
    everyone = np.arange(n)
    for block in blocks(n, BLOCK):
        # Training pictures down, so that a caption's matches are whole rows.
        alike = np.exp(-squared_distances(evaluated.pixels[block], training.pixels) / scale).T.copy()
        scores = np.zeros((alike.shape[1], n), np.float32)
        for caption, (numbers, overlaps) in enumerate(matches):
            if len(numbers):
                scores[:, caption] = (alike[numbers] * overlaps[:, None]).max(0)
        to_text.add(everyone[block], everyone, scores)
        to_image.add(everyone, everyone[block], scores.T)
    return {f"{direction} {key}": value
            for direction, counter in (("image to text", to_text), ("text to image", to_image))
            for key, value in counter.recall().items()}


def evaluate(evaluated, training, max_candidates):
    n = len(evaluated)
    nearest, distances = nearest_of(evaluated.pixels, training.pixels)
    result = {}
    has_label = evaluated.labels != NO_LABEL
    if has_label.any() and (training.labels != NO_LABEL).any():
        right = training.labels[nearest] == evaluated.labels
        result["top-1 accuracy"] = float(right[has_label].mean())
    if any(evaluated.captions) and any(training.captions):
        counter = ChrfCounter()
        for captions, copied in zip(evaluated.captions, nearest):
            if captions:
                counter.add((training.captions[copied] or [""])[0], captions)
        result["chrF"] = counter.corpus_score()
        if n <= max_candidates:
            scale = max(1e-6, float(np.partition(distances, n // 2)[n // 2]))
            result |= retrieval(evaluated, training, scale)
        else:
            print(f"  {evaluated.name}: no retrieval, {n} pictures are more than --max-candidates {max_candidates}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, help="the data set that the model is trained on")
    parser.add_argument("sets", type=Path, nargs="+", help="data sets to evaluate on")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="its name is the column's")
    parser.add_argument("--max-pictures", type=int, default=MAX_PICTURES, metavar="N",
                        help=f"of one data set; {PIXELS} bytes of memory each (default: %(default)s)")
    parser.add_argument("--max-candidates", type=int, default=MAX_CANDIDATES, metavar="N",
                        help="no retrieval on larger sets: it takes their square in time (default: %(default)s)")
    options = parser.parse_args()

    began = time.monotonic()
    training = PictureSet(options.training, options.max_pictures)
    results = {}
    for folder in options.sets:
        evaluated = PictureSet(folder, options.max_pictures)
        if evaluated.name in results:
            fail(folder, f"there are two sets of the name {evaluated.name}. Rename one: results go by it.")
        results[evaluated.name] = evaluate(evaluated, training, options.max_candidates)
        for key, value in results[evaluated.name].items():
            print(f"  {evaluated.name}  {key}  {value:.4f}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    incoming = options.out.with_name(options.out.name + ".incoming")
    incoming.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    incoming.rename(options.out)
    print(f"  {options.out}, in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
