"""Shards written with h5py as docs/shard-format.md says, with what the baselines read of them."""

import io

import h5py
import numpy as np
from PIL import Image


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_shard(path, samples, boxes=()):
    """samples: (encoded image or b"", texts, label or None); boxes: (sample, corners, class, phrase), by sample."""
    texts = [text.encode() for _, of_sample, _ in samples for text in of_sample]

    def starts(values):
        return np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype("<u8")

    with h5py.File(path, "w") as file:
        file.attrs["format"] = "triptych-shard"
        file["images/bytes"] = np.frombuffer(b"".join(image for image, _, _ in samples), np.uint8)
        file["images/offsets"] = starts([image for image, _, _ in samples])
        file["captions/bytes"] = np.frombuffer(b"".join(texts), np.uint8)
        file["captions/offsets"] = starts(texts)
        file["captions/first"] = starts([of_sample for _, of_sample, _ in samples])
        if any(label is not None for _, _, label in samples):
            file["samples/labels"] = np.array([-1 if label is None else label for _, _, label in samples], "<i8")
        if boxes:
            of_samples, corners, classes, phrases = zip(*boxes)
            file["boxes/first"] = np.searchsorted(of_samples, np.arange(len(samples) + 1)).astype("<u8")
            file["boxes/corners"] = np.concatenate(corners).astype("<i4")
            file["boxes/classes"] = np.array(classes, "<i8")
            file["boxes/phrases"] = np.array(phrases, "<i4")
