"""A data set's samples, as docs/shard-format.md has them."""
import io
import json
import os
from pathlib import Path

import numpy as np
import xxhash
from PIL import Image

from .errors import FormatError
from .files import field, hash_of_bytes, hash_of_file, parse_json, plain_name, read_bytes
from .pictures import FORMATS

try:
    from torch.utils.data import Dataset as _Base
except ImportError:  # it is one by its methods alone then
    _Base = object

ROLES = ("captions", "questions", "answers", "phrases")
_HEADER = np.dtype([("magic", "S8"), ("version", "<u8"), ("num_samples", "<u8"), ("num_captions", "<u8"), ("has_labels", "<u8"),
                    ("has_roles", "<u8"), ("num_boxes", "<u8"), ("zero", "<u8")])
_RECORD = np.dtype([("id", "<u8"), ("image_at", "<u8"), ("image_hash", "<u8"), ("texts_at", "<u8"), ("texts_hash", "<u8"),
                    ("image_bytes", "<u4"), ("width", "<u4"), ("height", "<u4"), ("format", "<u2"), ("is_turned", "<u2"),
                    ("first_text", "<u4"), ("num_texts", "<u4")])
_MOST_BYTES = {"image": 64 << 20, "texts": 64 << 20, "index.json": 1 << 30}
_MOST_IN_SHARD = 1 << 31  # samples, and texts


class Shards(_Base):
    """A data set that `triptych ingest` or `triptych index` made, as a PyTorch dataset.

    >>> shards = triptych.Shards("data/mine", transform=lambda sample: sample | {"pixels": pictures.one(sample["image"])})
    >>> loader = torch.utils.data.DataLoader(shards, batch_size=64, num_workers=8, collate_fn=...)

    A sample is a dict of `id`, `image` (a PIL image that is not decoded yet, or None), `captions`, `questions`, `answers`,
    `phrases` (lists of texts), `label` (an integer, or None), `label_name` where classes.txt has one, `boxes` (int32 [k, 4]: left,
    top, right, bottom), `box_classes` and `box_phrases` (int32 [k], numbers in `phrases`; -1 for none). Every byte is compared
    with its checksum when it is read.

    Safe with workers, forked or spawned: nothing is shared but the mapped index; each process opens the files that it reads.
    HDF5 takes no part: the index says where everything lies. `verify=False` leaves out the hash of the whole index at the start.
    """

    def __init__(self, path, transform=None, verify=True):
        self.path, self.transform = Path(path), transform
        self._files = {}  # of this process
        where = self.path / "index.json"
        if not where.is_file():
            raise FormatError(self.path, "must hold an index.json. Make it with `triptych index`")
        index = parse_json(read_bytes(where, _MOST_BYTES["index.json"]), where)
        if index.get("format") != "triptych-index" or index.get("version") not in (1, 2):
            raise FormatError(where, f"`format` and `version` must be triptych-index and 1 or 2, found "
                                     f"{index.get('format')!r} and {index.get('version')!r}. Make it anew with `triptych index`")
        checksum = field(index, "checksum", str, where)
        rest = {key: value for key, value in index.items() if key != "checksum"}
        rest = json.dumps(rest, separators=(",", ":"), ensure_ascii=False)
        if hash_of_bytes(rest.encode()) != checksum:
            raise FormatError(where, "`checksum` must be that of the file, and is not. Make it anew with `triptych index`")
        arrays = field(index, "arrays", dict, where)
        self._arrays = self.path / plain_name(field(arrays, "file", str, where), where)
        if not self._arrays.is_file() or self._arrays.stat().st_size != field(arrays, "bytes", int, where):
            raise FormatError(self._arrays, f"must have {arrays['bytes']} bytes. Make it anew with `triptych index`")
        if verify and hash_of_file(self._arrays) != field(arrays, "xxh3_128", str, where):
            raise FormatError(self._arrays, "its hash must be that of index.json, and is not. Make it anew with `triptych index`")
        self._shards, self._starts, self._text_starts = [], [0], [0]
        for shard in field(index, "shards", list, where):
            self._add_shard(shard, where)
        self._starts, self._text_starts = (np.array(starts, np.int64) for starts in (self._starts, self._text_starts))
        self._counts = [field(index, key, int, where) for key in ("num_samples", "num_captions")]
        self._map()
        names = self.path / "classes.txt"
        self.class_names = names.read_text(encoding="utf-8").splitlines() if names.is_file() else None

    def _add_shard(self, shard, where):
        path = self.path / plain_name(field(shard, "file", str, where), where)
        size = field(shard, "bytes", int, where)
        if not path.is_file() or path.stat().st_size != size:
            raise FormatError(path, f"must have {size} bytes, as when it was indexed. Get it from a backup, or run `triptych index`")
        self._shards.append((path, size))
        for starts, key in ((self._starts, "num_samples"), (self._text_starts, "num_captions")):
            count = field(shard, key, int, where)
            if not 0 <= count <= _MOST_IN_SHARD:
                raise FormatError(where, f"`{key}` must be 0 to {_MOST_IN_SHARD}, found {count}. Make it anew with `triptych index`")
            starts.append(starts[-1] + count)

    def _map(self):
        """The parts of index.bin, mapped: they take no memory of a process's own."""
        data = np.memmap(self._arrays, np.uint8, "r")
        header = data[:_HEADER.itemsize].view(_HEADER)[0] if len(data) >= _HEADER.itemsize else None
        if header is None or header["magic"] != b"TRIPTIDX" or int(header["version"]) not in (1, 2):
            raise FormatError(self._arrays, "must be an index of version 1 or 2. Make it anew with `triptych index`")
        samples, texts, boxes = (int(header[key]) for key in ("num_samples", "num_captions", "num_boxes"))
        if [samples, texts] != self._counts or [samples, texts] != [int(self._starts[-1]), int(self._text_starts[-1])]:
            raise FormatError(self._arrays, "must have the samples that index.json says. Make it anew with `triptych index`")
        parts = {"records": (_RECORD, samples), "labels": ("<i8", samples if header["has_labels"] else 0), "lengths": ("<u4", texts),
                 "roles": ("u1", texts if header["has_roles"] else 0), "first_boxes": ("<u8", samples + 1 if boxes else 0),
                 "boxes": (np.dtype(("<i4", 6)), boxes)}
        at = _HEADER.itemsize
        for name, (kind, count) in parts.items():
            size = count * np.dtype(kind).itemsize
            if at + size > len(data):
                raise FormatError(self._arrays, f"must hold {count} {name}, and ends before. Make it anew with `triptych index`")
            base = np.dtype("<i4") if name == "boxes" else np.dtype(kind)
            values = data[at:at + size].view(base)
            setattr(self, f"_{name}", values.reshape(-1, 6) if name == "boxes" else values)
            at += size
        if at != len(data):
            raise FormatError(self._arrays, "must end behind its last part. Make it anew with `triptych index`")

    def __getstate__(self):
        parts = ("_records", "_labels", "_lengths", "_roles", "_first_boxes", "_boxes")
        return {key: value for key, value in self.__dict__.items() if key not in parts} | {"_files": {}}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._map()

    def __len__(self):
        return len(self._records)

    def __getitem__(self, number):
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        number %= len(self)
        shard = int(np.searchsorted(self._starts, number, "right")) - 1
        record = self._records[number]
        texts, places = self._texts(shard, record)
        sample = {"id": int(record["id"]), "image": self._image(shard, record)} | texts
        label = int(self._labels[number]) if len(self._labels) else -1
        sample["label"] = label if label >= 0 else None
        if self.class_names and 0 <= label < len(self.class_names):
            sample["label_name"] = self.class_names[label]
        boxes = self._boxes[:0]
        if len(self._first_boxes):
            boxes = self._boxes[int(self._first_boxes[number]):int(self._first_boxes[number + 1])]
        phrases = np.array([places[k] if 0 <= k < len(places) else -1 for k in boxes[:, 5].tolist()], np.int32)
        sample |= {"boxes": np.array(boxes[:, :4]), "box_classes": np.array(boxes[:, 4]), "box_phrases": phrases}
        return self.transform(sample) if self.transform else sample

    def image_bytes(self, number):
        """The encoded image of a sample, b"" where it has none."""
        return self._image_bytes(int(np.searchsorted(self._starts, number, "right")) - 1, self._records[number])

    def _image_bytes(self, shard, record):
        return self._read(shard, record, "image", int(record["image_at"]), int(record["image_bytes"]), int(record["image_hash"]))

    def _image(self, shard, record):
        data = self._image_bytes(shard, record)
        return Image.open(io.BytesIO(data), formats=FORMATS) if data else None

    def _texts(self, shard, record):
        """By role, and of each text its number among those of its role."""
        texts, places = {role: [] for role in ROLES}, []
        if not int(record["num_texts"]):
            return texts, places
        first = int(self._text_starts[shard]) + int(record["first_text"])
        stop = first + int(record["num_texts"])
        lengths = self._lengths[first:stop]
        if len(lengths) != int(record["num_texts"]):
            raise FormatError(self._arrays, f"sample {int(record['id'])} must have its texts in the index. Run `triptych index`")
        data = self._read(shard, record, "texts", int(record["texts_at"]), int(lengths.sum()), int(record["texts_hash"]))
        roles, at = self._roles[first:stop] if len(self._roles) else np.zeros(len(lengths), "u1"), 0
        if roles.max() >= len(ROLES):
            raise FormatError(self._arrays, f"a text's role must be below {len(ROLES)}, found {roles.max()}. Run `triptych index`")
        for length, role in zip(lengths.tolist(), roles.tolist()):
            places.append(len(texts[ROLES[role]]))
            texts[ROLES[role]].append(data[at:at + length].decode("utf-8"))
            at += length
        return texts, places

    def _read(self, shard, record, what, at, size, expected):
        if size == 0:
            return b""
        path, whole = self._shards[shard]
        if size > _MOST_BYTES[what] or at + size > whole:
            raise FormatError(self._arrays, f"sample {int(record['id'])} must lie in its shard, and does not. Run `triptych index`")
        key = (os.getpid(), shard)
        if key not in self._files:  # a forked worker's own
            self._files[key] = os.open(path, os.O_RDONLY)
        data = os.pread(self._files[key], size, at)
        if xxhash.xxh3_64(data).intdigest() != expected:
            raise FormatError(path, f"the {what} of sample {int(record['id'])} must be what was indexed, and is not. Get the shard "
                                    "from a backup")
        return data

    def __del__(self):
        for (process, _), descriptor in getattr(self, "_files", {}).items():
            if process == os.getpid():
                os.close(descriptor)
