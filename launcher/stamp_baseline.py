#!/usr/bin/python3
"""What is reached without learning to find things: each stamp of a set is laid over every picture, and kept where it fits.

Template matching by the zero-mean normalised cross-correlation (Lewis 1995), over the three colours together and over
the opaque pixels of a stamp alone, of pictures and stamps that are made small: pictures of 64 x 64 pixels, stamps whose
longer side is 13, 19, 25 or 31 of them. Of each stamp and size the place that fits best in a picture counts; its box
has the class of the stamp, unless one of its class with a better score overlaps it (IoU above 0.5). The score is Fisher's:
atanh(correlation) * sqrt(opaque pixels), since a small stamp correlates by chance with something everywhere. For each
evaluation set:

  mAP, mAP at 0.5    of these boxes, as COCO defines it: what src/evaluation/detection_metrics.h says, without crowds and
                     ranges of size
  accuracy at 0.5    of phrases: of the stamps whose caption shares most words with the phrase (of all stamps where none
                     shares any) the box with the best score has an IoU of at least 0.5 with the one that the phrase names

Every class has --stamps of its stamps, evenly spaced, so that a set of 500 pictures takes some minutes. Classes are
matched by their names, in the classes.txt of the data sets. Writes {"about": what this is, "<folder of the set>": {"<metric>": value}}, which
`triptych eval --baseline FILE` shows beside the model's.

example:
  launcher/stamp_baseline.py data/stamps/train data/scenes/test --out data/scenes/stamp_matching.json
"""

import argparse
import io
import re
import time
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from baselines import read_samples, write_results
from messages import fail

ABOUT = "No model: each known stamp is laid over the picture at four sizes, and its box is where it fits best."
SIDE = 64                    # pixels of a picture
LENGTHS = (13, 19, 25, 31)   # pixels of a stamp's longer side
LEAST_OPAQUE = 12            # pixels of a stamp that is laid over pictures
OVERLAP = 0.5                # of boxes of one class of which only the better is kept
MOST_DETECTIONS = 100        # of a class in a picture, COCO's
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


# ---- names and words


def class_names(folder):
    file = folder / "classes.txt"
    if not file.exists():
        fail(folder, "has no classes.txt, which names its classes. Make the data set with `launcher/prepare`.")
    return file.read_text(encoding="utf-8").splitlines()


def words_of(text):
    return set(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())) - {"a", "an", "the", "some", "of"}


# ---- stamps


class Template(NamedTuple):
    stamp: int
    label: int
    height: int
    width: int
    spectrum: np.ndarray       # [3, SIDE, SIDE // 2 + 1] of the centred pixels, conjugated
    mask_spectrum: np.ndarray  # [SIDE, SIDE // 2 + 1] of the opaque pixels, conjugated
    num_values: int            # opaque pixels, three values each
    norm: float


def template_of(stamp, label, picture, length):
    """The opaque part of a stamp, its longer side so long; None where too little is left or it is of one colour."""
    box = picture.getchannel("A").point(lambda a: 255 * (a >= 128)).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    scale = length / max(picture.size)
    small = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BILINEAR)
    values = np.asarray(small, np.float64)
    mask = values[..., 3] >= 128
    if mask.sum() < LEAST_OPAQUE:
        return None
    centred = (values[..., :3] - values[..., :3][mask].mean()) * mask[..., None]
    norm = float(np.sqrt((centred ** 2).sum()))
    if norm < 1:
        return None
    spectrum = np.conj(np.fft.rfft2(centred.transpose(2, 0, 1), (SIDE, SIDE)))
    return Template(stamp, label, *mask.shape, spectrum, np.conj(np.fft.rfft2(mask.astype(float), (SIDE, SIDE))),
                    3 * int(mask.sum()), norm)


def read_stamps(folder, names, per_class):
    """(templates, words of each stamp's captions): evenly spaced stamps of each class whose name is among `names`."""
    own = class_names(folder)
    by_class = {}
    for sample in read_samples(folder):
        if 0 <= sample.label < len(own) and own[sample.label] in names:
            by_class.setdefault(names.index(own[sample.label]), []).append(sample)
    templates, words = [], []
    for label, stamps in sorted(by_class.items()):
        for number in np.unique(np.linspace(0, len(stamps) - 1, min(per_class, len(stamps))).round().astype(int)):
            picture = Image.open(io.BytesIO(stamps[number].picture)).convert("RGBA")
            made = [template_of(len(words), label, picture, length) for length in LENGTHS]
            templates += [template for template in made if template is not None]
            words.append(set().union(*(words_of(text.removeprefix("en:")) for text in stamps[number].texts[:1])))
    if not templates:
        fail(folder, "has no stamps of the classes that are looked for. Name the set that they were made of.")
    return templates, words


# ---- matching


def small_picture(encoded):
    """(the middle square, SIDE x SIDE x 3; its left, top and side in the picture's own pixels)."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(small, np.float64), left, top, side


def best_places(picture, templates):
    """[templates, 5]: of each its best box, left, top, right, bottom in small pixels, and the correlation there."""
    centred = picture - picture.mean()
    spectrum = np.fft.rfft2(centred.transpose(2, 0, 1))
    sums, squares = np.fft.rfft2(centred.sum(2)), np.fft.rfft2((centred ** 2).sum(2))
    result = np.empty((len(templates), 5))
    for number, t in enumerate(templates):
        fields = np.fft.irfft2(np.stack(((spectrum * t.spectrum).sum(0), sums * t.mask_spectrum,
                                         squares * t.mask_spectrum)), (SIDE, SIDE))
        inside = fields[:, :SIDE - t.height + 1, :SIDE - t.width + 1]
        variance = np.maximum(inside[2] - inside[1] ** 2 / t.num_values, 1.0)
        correlation = inside[0] / (t.norm * np.sqrt(variance))
        top, left = np.unravel_index(correlation.argmax(), correlation.shape)
        result[number] = left, top, left + t.width, top + t.height, correlation[top, left]
    return result


def scores_of(places, templates):
    """How far each correlation is from what chance gives, in standard deviations of as many independent pixels."""
    pixels = np.array([t.num_values / 3 for t in templates])
    return np.arctanh(np.clip(places[:, 4], -0.999, 0.999)) * np.sqrt(pixels)


def iou(boxes, others):
    """[n, m] of boxes [n, 4] and [m, 4]."""
    boxes, others = np.asarray(boxes, float).reshape(-1, 4), np.asarray(others, float).reshape(-1, 4)
    low, high = np.maximum(boxes[:, None, :2], others[None, :, :2]), np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    area, other_area = ((each[:, 2:] - each[:, :2]).prod(1) for each in (boxes, others))
    return shared / np.maximum(area[:, None] + other_area[None] - shared, 1e-12)


def kept(boxes, scores):
    """Which boxes are kept, best first: none that a better one overlaps."""
    order, result = list(np.argsort(-scores, kind="stable")), []
    overlaps = iou(boxes, boxes)
    for number in order:
        if len(result) < MOST_DETECTIONS and all(overlaps[number, better] <= OVERLAP for better in result):
            result.append(number)
    return result


# ---- measures


def mean_average_precision(images, num_classes):
    """(mAP, mAP at 0.5) of images, each (objects, detections): (box, class) and (box, class, score)."""
    means = []
    for label in range(num_classes):
        scores, right, count = [], [], 0
        for objects, detections in images:
            truths = [box for box, c in objects if c == label]
            found = sorted((d for d in detections if d[1] == label), key=lambda d: -d[2])[:MOST_DETECTIONS]
            count += len(truths)
            overlaps = iou([d[0] for d in found], truths)
            taken = np.zeros((len(THRESHOLDS), len(truths)), bool)
            for number, detection in enumerate(found):
                is_right = np.zeros(len(THRESHOLDS), bool)
                for t, threshold in enumerate(THRESHOLDS):
                    free = np.where(taken[t], -1, overlaps[number]) if truths else np.zeros(0)
                    # of equal ones the last
                    best = len(free) - 1 - int(free[::-1].argmax()) if len(free) else -1
                    if best >= 0 and free[best] >= min(threshold, 1 - 1e-10):
                        taken[t, best] = is_right[t] = True
                scores.append(detection[2])
                right.append(is_right)
        if count == 0:
            continue
        averages = np.zeros(len(THRESHOLDS))
        if scores:
            order = np.argsort(-np.array(scores), kind="stable")
            hits = np.cumsum(np.array(right)[order], axis=0)
            recall, precision = hits / count, hits / np.arange(1, len(order) + 1)[:, None]
            precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            for t in range(len(THRESHOLDS)):
                at = np.searchsorted(recall[:, t], RECALLS)
                averages[t] = np.where(at < len(order), precision[np.minimum(at, len(order) - 1), t], 0).mean()
        means.append((averages.mean(), averages[0]))
    return tuple(np.mean(means, axis=0)) if means else (0.0, 0.0)


def evaluate(folder, templates, words, names, max_pictures):
    images, num_right, num_phrases = [], 0, 0
    labels, stamps = (np.array([getattr(t, part) for t in templates]) for part in ("label", "stamp"))
    for number, sample in enumerate(read_samples(folder, small_picture)):
        if number == max_pictures:
            break
        picture, left, top, side = sample.picture
        places = best_places(picture, templates)
        boxes, scores = places[:, :4] * side / SIDE + (left, top, left, top), scores_of(places, templates)
        detections = []
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            detections += [(boxes[own[k]], int(label), scores[own[k]]) for k in kept(boxes[own], scores[own])]
        images.append(([(box[:4], box[4]) for box in sample.boxes if box[4] >= 0], detections))
        for box in sample.boxes:
            if box[5] < 0:
                continue
            phrase = words_of(sample.texts[box[5]])
            shared = np.array([len(phrase & each) / max(1, len(phrase | each)) for each in words])[stamps]
            asked = np.flatnonzero(shared == shared.max())
            best = asked[scores[asked].argmax()]
            num_right += iou(boxes[best], box[:4])[0, 0] >= 0.5
            num_phrases += 1
        if (number + 1) % 100 == 0:
            print(f"  {folder.name}: {number + 1} pictures", flush=True)
    result = dict(zip(("mAP", "mAP at 0.5"), map(float, mean_average_precision(images, len(names)))))
    if num_phrases:
        result["accuracy at 0.5"] = float(num_right / num_phrases)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stamps", type=Path, help="the data set of the stamps that the training scenes are made of")
    parser.add_argument("sets", type=Path, nargs="+", help="data sets with boxes to evaluate on")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="its name is the column's")
    parser.add_argument("--stamps-a-class", type=int, default=10, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--max-pictures", type=int, default=1000, metavar="N",
                        help="of a set; the first ones (default: %(default)s)")
    options = parser.parse_args()
    began = time.monotonic()

    def measure(folder):
        names = class_names(folder)
        templates, words = read_stamps(options.stamps, names, options.stamps_a_class)
        print(f"  {folder}: {len(words)} stamps in {len(templates)} sizes", flush=True)
        return evaluate(folder, templates, words, names, options.max_pictures)

    write_results(options.out, options.sets, measure, began, ABOUT)


if __name__ == "__main__":
    main()
