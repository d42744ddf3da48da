#!/usr/bin/python3
"""What is reached without learning: the training pictures that look most alike, at 32 x 32 pixels at most, are asked.

For each evaluation set, as far as it has labels and captions:

  top-1 accuracy             the label of the nearest training picture
  chrF                       its first caption as the picture's caption, against all of the picture's own; with --prompt,
  <prompt> chrF              of those alone that begin with the prompt, which is taken off, as `triptych eval` does
  image to text recall@k,    any of a picture's captions among the set's, and a caption's picture, for all captions; ranked
  text to image recall@k     for picture i and caption c by the maximum, over the 50 training pictures t that are nearest
                             to i and their captions b, of overlap(c, b) * exp(-d(i, t)^2 / s^2)

d is the Euclidean distance of the pixels, s^2 the median of d^2 to the nearest training picture, and overlap the Jaccard
index of the captions' words (1 if they are equal): so it can say something of things that training never saw, from the
words they share with others. Equal scores count as found before the right one. Captions are normalised as tokenizers do
it: NFKC and case folding.

Writes {"about": what this is, "<folder of the set>": {"<metric>": value}}, which `triptych eval --baseline FILE` shows beside the model's.

example:
  launcher/pixel_baseline.py data/emoji/train data/emoji/unseen_style data/emoji/unseen_concepts --out raw_pixels.json
"""

import argparse
import io
import re
import time
import unicodedata
from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from baselines import NO_LABEL, read_samples, write_results
from chrf import ChrfCounter
from messages import fail

ABOUT = ("No model: the captions and labels of the training pictures that look most alike, pixel by pixel, answer for a "
         "picture. What a model must beat to have learned more than that.")
SIDE = 32    # pixels, at most
CELL = 4     # pixels a side that are summed up in the search for the nearest
NEAREST = 50
BLOCK = 128  # evaluation pictures or captions at a time
DEEPEST = 10
# Up to 4 KB a picture, and for each of a block of evaluation pictures some floats: together 700 MB.
MAX_PICTURES = 100000
# Retrieval compares every picture of a set with every caption of it: some minutes for so many, with 5 captions each.
MAX_CANDIDATES = 20000


# ---- pictures and captions


@lru_cache(maxsize=256)
def resize_weights(inputs, start, length, outputs):
    """[outputs, inputs]: triangle filters as wide as the reduction, cut at the box, as src/data/transforms.h resizes."""
    scale = length / outputs
    support = max(scale, 1.0)
    centers = start + (np.arange(outputs) + 0.5) * scale
    places = np.arange(inputs)
    weights = np.maximum(0, 1 - np.abs(places + 0.5 - centers[:, None]) / support)
    weights[:, (places < np.floor(start)) | (places >= np.ceil(start + length))] = 0
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def small_picture(encoded, side=SIDE):
    """The middle square of a picture as RGB bytes [side, side, 3], on white where it is transparent."""
    image = Image.open(io.BytesIO(encoded))
    if image.mode not in ("RGB", "L"):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    if height == width == side:
        return pixels
    square = min(width, height)
    down = resize_weights(height, (height - square) / 2, square, side)
    across = resize_weights(width, (width - square) / 2, square, side)
    rows = (down @ pixels.astype(np.float32).reshape(height, -1)).reshape(side, width, 3)
    return np.rint(np.einsum("ywc,xw->yxc", rows, across)).astype(np.uint8)


def normalized(text):
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


class PictureSet:
    """The samples of a data set that have a picture: small pictures, captions, labels.

    pixels bytes [n, side, side, 3], captions a list a sample, labels [n] with NO_LABEL where there is none. Without a
    side it is that of the largest picture's middle square, but at most SIDE.
    """

    def __init__(self, folder, max_pictures, side=None):
        self.folder = folder
        self.side = side or self.side_of_pictures_()
        pictures, self.captions, labels = [], [], []
        for sample in read_samples(folder, lambda encoded: small_picture(encoded, self.side)):
            if len(pictures) == max_pictures:
                fail(folder, f"must have at most {max_pictures} pictures, found more: they are held in memory, "
                     f"{self.side**2 * 3} bytes each. Raise --max-pictures, or leave this baseline out.")
            pictures.append(sample.picture)
            self.captions.append(sample.texts)
            labels.append(sample.label)
        if not pictures:
            fail(folder, "has no picture.")
        self.pixels = np.stack(pictures)
        self.labels = np.array(labels, np.int64)

    def side_of_pictures_(self):
        largest = 1
        for sample in read_samples(self.folder, lambda encoded: Image.open(io.BytesIO(encoded)).size):
            largest = max(largest, min(sample.picture))
            if largest >= SIDE:
                return SIDE
        return largest

    def __len__(self):
        return len(self.labels)

    def is_grey(self):
        return bool((self.pixels == self.pixels[..., :1]).all())


def blocks(count, size):
    return [slice(begin, min(begin + size, count)) for begin in range(0, count, size)]


# ---- the nearest pictures


def summaries(pixels):
    """[n, cells * channels + 1] of pictures [n, side, side, channels], no further apart than the pictures are.

    Coordinates along an orthonormal set of directions, each the mean of one cell, and the length of what they leave:
    of two remainders it is known that their difference is no shorter than the difference of their lengths.
    """
    starts = np.arange(0, pixels.shape[1], CELL)
    widths = np.diff([*starts, pixels.shape[1]])
    result = []
    for block in blocks(len(pixels), 4096):
        centred = pixels[block].astype(np.float32) - np.float32(127.5)
        cells = np.add.reduceat(np.add.reduceat(centred, starts, axis=1), starts, axis=2)
        cells /= np.sqrt(np.outer(widths, widths), dtype=np.float32)[:, :, None]
        cells = cells.reshape(len(cells), -1)
        rest = np.einsum("nyxc,nyxc->n", centred, centred) - np.einsum("ij,ij->i", cells, cells)
        result.append(np.concatenate([cells, np.sqrt(np.maximum(rest, 0))[:, None]], axis=1))
    return np.concatenate(result)


def nearest_of(pictures, training, k):
    """Numbers of the k nearest training pictures of each picture, nearest first, and their squared distances: [n, k].

    Of equals the first. Exact: whole pictures are compared where their summaries do not rule it out.
    """
    k = min(k, len(training))
    ours, theirs = summaries(pictures), np.ascontiguousarray(summaries(training).T)
    our_squares, their_squares = np.einsum("ij,ij->i", ours, ours), np.einsum("ij,ij->j", theirs, theirs)
    flat = training.reshape(len(training), -1)
    nearest, distances = np.zeros((len(pictures), k), np.int64), np.zeros((len(pictures), k), np.int64)

    def between(picture, numbers):
        differences = flat[numbers].astype(np.int32) - picture.reshape(-1)
        return np.einsum("ij,ij->i", differences, differences)

    for block in blocks(len(pictures), BLOCK):
        bounds = ours[block] @ theirs
        bounds *= -2
        # Less what rounding may have added.
        bounds += np.float32(1 - 1e-5) * our_squares[block, None]
        bounds += np.float32(1 - 1e-5) * their_squares
        for number, row in zip(range(block.start, block.stop), bounds):
            picture = pictures[number].astype(np.int32)
            tried = min(len(training), k + 16)
            likely = np.argpartition(row, tried - 1)[:tried]
            limit = np.partition(between(picture, likely), k - 1)[k - 1]
            candidates = np.flatnonzero(row <= limit)
            found = between(picture, candidates)
            best = np.argsort(found, kind="stable")[:k]
            nearest[number], distances[number] = candidates[best], found[best]
    return nearest, distances


# ---- captions of the nearest


class WordOverlaps:
    """The best overlap of a caption with any caption of a picture, for all pictures of a set."""

    def __init__(self, captions):
        """captions: a list for each picture."""
        words = [self.words_of(caption) for of_picture in captions for caption in of_picture]
        self.num_pictures_ = len(captions)
        self.num_words_ = np.array([len(each) for each in words])
        counts = np.array([len(of_picture) for of_picture in captions])
        self.with_captions_ = np.flatnonzero(counts)
        self.starts_ = (np.cumsum(counts) - counts)[self.with_captions_]
        with_word = defaultdict(list)
        for number, each in enumerate(words):
            for word in each:
                with_word[word].append(number)
        self.with_word_ = {word: np.array(numbers) for word, numbers in with_word.items()}

    @staticmethod
    def words_of(caption):
        return frozenset(filter(None, re.split(r"[\s,:;、()]", normalized(caption))))

    def of(self, caption):
        """[pictures]"""
        words = self.words_of(caption)
        shared = np.zeros(len(self.num_words_), np.float32)
        for word in words:
            shared[self.with_word_.get(word, ())] += 1
        overlaps = shared / np.maximum(1, len(words) + self.num_words_ - shared)
        result = np.zeros(self.num_pictures_, np.float32)
        result[self.with_captions_] = np.maximum.reduceat(overlaps, self.starts_)
        return result


class RecallCounter:
    """Recall at 1, 5 and 10, as src/evaluation/retrieval_metrics.h defines it: any of the candidates of a query's group is
    right; a wrong one with the best right one's score counts as found before it."""

    def __init__(self, query_groups, candidate_groups):
        self.query_groups_, self.candidate_groups_ = query_groups, candidate_groups
        self.best_right_ = np.full(len(query_groups), -np.inf, np.float32)
        self.best_wrong_ = np.full((len(query_groups), DEEPEST), -np.inf, np.float32)

    def add(self, queries, candidates, scores):
        """scores [queries, candidates]; the two are slices. Each pair once."""
        is_right = self.query_groups_[queries, None] == self.candidate_groups_[candidates]
        best = np.where(is_right, scores, -np.inf).max(1)
        self.best_right_[queries] = np.maximum(self.best_right_[queries], best)
        together = np.concatenate([self.best_wrong_[queries], np.where(is_right, -np.inf, scores)], axis=1)
        self.best_wrong_[queries] = np.partition(together, -DEEPEST, axis=1)[:, -DEEPEST:]

    def recall(self):
        """Queries without a right candidate are left out."""
        has_right = np.isin(self.query_groups_, self.candidate_groups_)
        before = (self.best_wrong_ >= self.best_right_[:, None]).sum(1)[has_right]
        return {f"recall@{k}": float((before < k).mean()) for k in (1, 5, 10)}


def retrieval(evaluated, training, nearest, distances):
    pictures = np.arange(len(evaluated))
    picture_of_caption = np.repeat(pictures, [len(captions) for captions in evaluated.captions])
    captions = [caption for captions in evaluated.captions for caption in captions]
    to_text, to_image = RecallCounter(pictures, picture_of_caption), RecallCounter(picture_of_caption, pictures)
    alike = np.exp(-distances / max(1, np.partition(distances[:, 0], len(pictures) // 2)[len(pictures) // 2]))
    alike = alike.astype(np.float32)
    overlaps = WordOverlaps(training.captions)
    for texts in blocks(len(captions), BLOCK):
        # Training pictures down, so that a picture's overlap with all captions is a whole row.
        overlap = np.stack([overlaps.of(caption) for caption in captions[texts]], axis=1)
        for images in blocks(len(pictures), BLOCK):
            scores = np.zeros((images.stop - images.start, overlap.shape[1]), np.float32)
            for numbers, weights in zip(nearest[images].T, alike[images].T):
                np.maximum(scores, overlap[numbers] * weights[:, None], out=scores)
            to_text.add(images, texts, scores)
            to_image.add(texts, images, scores.T)
    return {f"{direction} {key}": value
            for direction, counter in (("image to text", to_text), ("text to image", to_image))
            for key, value in counter.recall().items()}


def after_prompt(captions, prompt):
    """What follows the prompt in those captions that begin with it."""
    return [normalized(caption.removeprefix(prompt)).strip() for caption in captions if caption.startswith(prompt)]


def copied_captions_chrf(evaluated, training, nearest, prompt):
    counter = ChrfCounter()
    for captions, copied in zip(evaluated.captions, nearest):
        if references := after_prompt(captions, prompt):
            counter.add((after_prompt(training.captions[copied], prompt) or [""])[0], references)
    return counter.corpus_score()


def evaluate(evaluated, training, max_candidates, prompts):
    n = len(evaluated)
    has_captions = any(evaluated.captions) and any(training.captions)
    has_retrieval = has_captions and n <= max_candidates
    channels = 1 if evaluated.is_grey() and training.is_grey() else 3  # grey three times tells no more than once
    nearest, distances = nearest_of(evaluated.pixels[..., :channels], training.pixels[..., :channels],
                                    NEAREST if has_retrieval else 1)
    result = {}
    has_label = evaluated.labels != NO_LABEL
    if has_label.any() and (training.labels != NO_LABEL).any():
        right = training.labels[nearest[:, 0]] == evaluated.labels
        result["top-1 accuracy"] = float(right[has_label].mean())
    if has_captions:
        for prompt in prompts:
            result[f"{prompt} chrF".strip()] = copied_captions_chrf(evaluated, training, nearest[:, 0], prompt)
    if has_retrieval:
        result |= retrieval(evaluated, training, nearest, distances)
    elif has_captions:
        print(f"  {evaluated.folder}: no retrieval, {n} pictures are more than --max-candidates {max_candidates}")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("training", type=Path, help="the data set that the model is trained on")
    parser.add_argument("sets", type=Path, nargs="+", help="data sets to evaluate on")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="its name is the column's")
    parser.add_argument("--max-pictures", type=int, default=MAX_PICTURES, metavar="N",
                        help="of one data set; up to 4 KB of memory each (default: %(default)s)")
    parser.add_argument("--max-candidates", type=int, default=MAX_CANDIDATES, metavar="N",
                        help="no retrieval on sets of more pictures: it takes their square in time (default: %(default)s)")
    parser.add_argument("--prompt", action="append", default=[], metavar="TEXT", dest="prompts",
                        help="compare only captions that begin so; repeatable (default: all, whole)")
    options = parser.parse_args()

    began = time.monotonic()
    training = PictureSet(options.training, options.max_pictures)

    def measure(folder):
        evaluated = PictureSet(folder, options.max_pictures, training.side)
        return evaluate(evaluated, training, options.max_candidates, options.prompts or [""])

    write_results(options.out, options.sets, measure, began, ABOUT)


if __name__ == "__main__":
    main()
