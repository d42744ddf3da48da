"""What the baselines share: the samples of a data set, and the file that `triptych eval --baseline` reads."""

import json
import os
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from messages import fail

NO_LABEL = -1


class Sample(NamedTuple):
    """A sample with a picture, as docs/shard-format.md has it."""

    picture: object  # what read_samples makes of its bytes
    texts: list      # captions and texts of other roles
    label: int       # or NO_LABEL
    boxes: list      # (left, top, right, bottom, class or -1, number of the phrase among the texts or -1), in pixels


def read_samples(folder, look=lambda encoded: encoded):
    """Yields all samples of a data set that have a picture; `look` makes something of its bytes, or raises OSError."""
    shards = sorted(folder.glob("*.h5"), key=lambda path: path.name.encode())
    if not shards:
        fail(folder, "holds no shards (*.h5). Name a data set's folder.")
    for path in shards:
        try:
            with h5py.File(path, "r") as shard:
                for sample in samples_of_shard(shard):
                    yield sample._replace(picture=look(sample.picture))
        except (OSError, KeyError) as error:
            fail(path, f"is no shard that can be read: {error}. Check it with `triptych inspect {folder} --verify`.")


def samples_of_shard(shard):
    if shard.attrs.get("format") not in ("triptych-shard", b"triptych-shard"):
        raise OSError("its format is not triptych-shard")
    images, image_ends = shard["images/bytes"], shard["images/offsets"][:]
    texts, text_ends, first_text = (shard[f"captions/{part}"][:] for part in ("bytes", "offsets", "first"))
    texts = texts.tobytes()
    n = len(image_ends) - 1
    labels = shard["samples/labels"][:] if "samples/labels" in shard else np.full(n, NO_LABEL)
    first_box, boxes = np.zeros(n + 1, int), np.zeros((0, 6), int)
    if "boxes/first" in shard:
        first_box = shard["boxes/first"][:].astype(int)
        boxes = np.column_stack((shard["boxes/corners"][:].reshape(-1, 4), shard["boxes/classes"][:],
                                 shard["boxes/phrases"][:]))
    for i in range(n):
        if image_ends[i] == image_ends[i + 1]:
            continue
        yield Sample(images[image_ends[i]:image_ends[i + 1]].tobytes(),
                     [texts[text_ends[c]:text_ends[c + 1]].decode() for c in range(first_text[i], first_text[i + 1])],
                     int(labels[i]), [tuple(map(int, box)) for box in boxes[first_box[i]:first_box[i + 1]]])


def write_results(out, folders, measure, began, about):
    """Writes {"about": about, "<folder of the set>": measure(folder)} to `out`, and prints it; a result is {"<metric>": value}.

    began   when the script did, by time.monotonic
    about   a sentence for those who see the results in a report: what they are of
    """
    results = {"about": about}
    for folder in folders:
        name = Path(os.path.normpath(folder)).name
        if name in results:
            fail(folder, f"there are two sets of the name {name}. Rename one: results go by it.")
        results[name] = measure(folder)
        for key, value in results[name].items():
            print(f"  {name}  {key}  {value:.4f}", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    incoming = out.with_name(out.name + ".incoming")
    incoming.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    incoming.rename(out)
    print(f"  {out}, in {time.monotonic() - began:.1f} s")
