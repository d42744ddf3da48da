"""A data set's shards as h5py reads them, by docs/shard-format.md."""

from typing import NamedTuple

import h5py


class Sample(NamedTuple):
    id: int
    image: bytes
    captions: list
    label: int  # -1 without one
    boxes: list  # of (left, top, right, bottom, class)


def read_samples(folder):
    """All samples of a data set, in their order."""
    samples = []
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            def array(name):
                return file[name][:] if name in file else None

            image_bytes, caption_bytes = array("images/bytes").tobytes(), array("captions/bytes").tobytes()
            offsets, ends, first = array("images/offsets"), array("captions/offsets"), array("captions/first")
            labels, box_first, corners, classes = (array(name) for name in (
                "samples/labels", "boxes/first", "boxes/corners", "boxes/classes"))
            for i, sample_id in enumerate(array("samples/ids")):
                captions = [caption_bytes[ends[c]:ends[c + 1]].decode() for c in range(first[i], first[i + 1])]
                numbers = range(box_first[i], box_first[i + 1]) if box_first is not None else ()
                boxes = [(*map(int, corners[4 * k:4 * k + 4]), int(classes[k])) for k in numbers]
                samples.append(Sample(int(sample_id), image_bytes[offsets[i]:offsets[i + 1]], captions,
                                      -1 if labels is None else int(labels[i]), boxes))
    return samples
