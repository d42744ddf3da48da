"""Checkpoints of any mesh, as docs/checkpoint-format.md has them: global tensors out of the pieces that ranks saved."""
import math
import re
import struct
import tomllib
from pathlib import Path

import numpy as np

from .errors import FormatError
from .files import field, hash_of_bytes, hash_of_file, parse_json, plain_name, read_bytes

TYPES = {"F64": "<f8", "F32": "<f4", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1"}
_MANIFEST_BYTES = 1 << 30
_HEADER_BYTES = 100 << 20  # as the safetensors library allows
_SELF_HASH = re.compile(rb'"self_hash": "([0-9a-f]{32})"')
_NOT_PARAMETERS = (".first_moment", ".second_moment", ".average")


def find(path):
    """The folder of a checkpoint: `path` is one, or holds one that `latest` names (a run's folder, or its checkpoints)."""
    path = Path(path)
    if (path / "manifest.json").is_file():
        return path
    for folder in (path / "checkpoints", path):
        if (folder / "latest").is_file():
            name = read_bytes(folder / "latest", 4096).decode("utf-8", "replace").strip()
            return folder / plain_name(name, folder / "latest")
    raise FormatError(path, "must be a checkpoint, a folder of them or a run's: no manifest.json and no `latest` is there. "
                            "Name a run, such as runs/quickstart")


class Checkpoint:
    """An opened checkpoint: its manifest and the sizes of its files are checked. Tensors are read when they are asked for, and
    the hash of each file before its first byte is used (`verify=False` leaves these hashes out)."""

    def __init__(self, path, verify=True):
        self.folder = find(path)
        self._where = self.folder / "manifest.json"
        self._verify = verify
        self._sound, self._read = set(), {}  # files whose hash was checked; the tensors of those that were opened
        data = read_bytes(self._where, _MANIFEST_BYTES)
        manifest = parse_json(data, self._where)
        if manifest.get("format") != "triptych-checkpoint" or manifest.get("version") != 1:
            raise FormatError(self._where, f"`format` and `version` must be triptych-checkpoint and 1, found "
                                           f"{manifest.get('format')!r} and {manifest.get('version')!r}. Another version wrote it")
        self._check_self_hash(data)
        self.step = field(manifest, "step", int, self._where)
        self.model = field(manifest, "model", str, self._where)  # the fingerprint
        self.mesh = {field(axis, "axis", str, self._where): field(axis, "size", int, self._where)
                     for axis in field(manifest, "mesh", list, self._where)}
        self.config_text = field(manifest, "config", str, self._where)
        try:
            self.config = tomllib.loads(self.config_text)
        except tomllib.TOMLDecodeError as error:
            raise FormatError(self._where, f"`config` must be TOML: {error}. The file is damaged") from error
        self._files = {}
        for entry in field(manifest, "files", list, self._where):
            name = plain_name(field(entry, "name", str, self._where), self._where)
            self._files[name] = (field(entry, "bytes", int, self._where), field(entry, "xxh3_128", str, self._where))
            self._require_size(name)
        self._tensors = {name: self._checked(name, tensor)
                         for name, tensor in field(manifest, "tensors", dict, self._where).items()}

    def _check_self_hash(self, data):
        found = _SELF_HASH.search(data)
        if not found:
            raise FormatError(self._where, "`self_hash` must be there. The file is damaged")
        zeros = data[:found.start(1)] + b"0" * 32 + data[found.end(1):]
        if hash_of_bytes(zeros) != found[1].decode():
            raise FormatError(self._where, "`self_hash` must be that of the file's bytes, and is not. The file is damaged: use "
                                           "another checkpoint")

    def _require_size(self, name):
        path, size = self.folder / name, self._files[name][0]
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            raise FormatError(path, f"must have {size} bytes, found {found}. The checkpoint is damaged: use another")

    def _checked(self, name, tensor):
        where = f"{self._where}: {name}"
        dtype, shape = field(tensor, "dtype", str, where), field(tensor, "shape", list, where)
        if dtype not in TYPES or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise FormatError(where, f"must have a type of {', '.join(TYPES)} and a shape, found {dtype} {shape}. It is damaged")
        pieces = field(tensor, "pieces", list, where)
        for piece in pieces:
            begin, size = field(piece, "begin", list, where), field(piece, "shape", list, where)
            if (len(begin) != len(shape) or len(size) != len(shape)
                    or field(piece, "file", str, where) not in self._files
                    or not all(isinstance(b, int) and isinstance(n, int) and 0 <= b <= b + n <= s
                               for b, n, s in zip(begin, size, shape))):
                raise FormatError(where, f"a piece must lie in the tensor and in a file, found {piece!r:.200}. It is damaged")
        if math.prod(shape) * np.dtype(TYPES[dtype]).itemsize > sum(size for size, _ in self._files.values()):
            raise FormatError(where, f"cannot be larger than the checkpoint's files, found {shape}. The file is damaged")
        if sum(math.prod(piece["shape"]) for piece in pieces) != math.prod(shape):
            raise FormatError(where, "its pieces must cover it exactly, without gap or overlap. The file is damaged")
        return dtype, tuple(shape), pieces

    def names(self):
        """Of the parameters, in the manifest's order; neither moments nor averages."""
        return [name for name in self._tensors if not name.endswith(_NOT_PARAMETERS)]

    def shape(self, name):
        return self._tensors[name][1]

    def has_average(self):
        return any(name.endswith(".average") for name in self._tensors)

    def tensor(self, name):
        """The whole tensor of that name; bfloat16 comes as its bits."""
        if name not in self._tensors:
            raise FormatError(self.folder, f"must have a tensor {name!r}; it has {len(self._tensors)} others. "
                                           "names() lists the parameters")
        dtype, shape, pieces = self._tensors[name]
        whole, seen = np.empty(shape, TYPES[dtype]), np.zeros(shape, bool)
        for piece in pieces:
            place = tuple(slice(b, b + n) for b, n in zip(piece["begin"], piece["shape"]))
            part = self._file(piece["file"]).get(field(piece, "key", str, self._where))
            if part is None or part.dtype != whole.dtype or list(part.shape) != piece["shape"] or seen[place].any():
                raise FormatError(self.folder / piece["file"], f"must have the piece {piece['begin']} of {name} once, as the "
                                                               "manifest says. The checkpoint is damaged: use another")
            whole[place], seen[place] = part, True
        return whole

    def parameter(self, name, weights="last"):
        """A parameter in float32: `last`, or `ema`, its moving average where it has one."""
        average = f"{name}.average"
        value = self.tensor(average if weights == "ema" and average in self._tensors else name)
        if value.dtype != np.float32:
            raise FormatError(self.folder, f"a parameter must be F32, {name} is {value.dtype}. Another version wrote it")
        return value

    def file(self, name):
        """The path of another file of the checkpoint, such as `tokenizer.model`, its hash checked; None if there is none."""
        if name not in self._files:
            return None
        self._check_hash(name)
        return self.folder / name

    def _check_hash(self, name):
        if name in self._sound or not self._verify:
            return
        if hash_of_file(self.folder / name) != self._files[name][1]:
            raise FormatError(self.folder / name, "its hash must be that of the manifest, and is not. The checkpoint is damaged: "
                                                  "use another")
        self._sound.add(name)

    def _file(self, name):
        if name not in self._read:
            self._check_hash(name)
            self._read[name] = self._tensors_of(self.folder / name)
        return self._read[name]

    @staticmethod
    def _tensors_of(path):
        """Of a safetensors file by key, as views of the mapped file."""
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if length > min(size - 8, _HEADER_BYTES):
                raise FormatError(path, f"the header must lie in the file, its length says {length} bytes of {size}. It is "
                                        "damaged")
            header = parse_json(file.read(length), path)
        begin, tensors = 8 + length, {}
        data = np.memmap(path, np.uint8, "r")[begin:] if size > begin else np.empty(0, np.uint8)
        for key, entry in header.items():
            if key == "__metadata__":
                continue
            kind, shape = TYPES.get(field(entry, "dtype", str, path)), field(entry, "shape", list, path)
            offsets = field(entry, "data_offsets", list, path)
            if (kind is None or not all(isinstance(n, int) and n >= 0 for n in shape) or len(offsets) != 2
                    or not all(isinstance(n, int) for n in offsets) or not 0 <= offsets[0] <= offsets[1] <= len(data)
                    or offsets[1] - offsets[0] != math.prod(shape) * np.dtype(kind).itemsize):
                raise FormatError(path, f"{key} must have a type, a shape and a place of its size, found {entry!r:.200}. It "
                                        "is damaged")
            tensors[key] = data[offsets[0]:offsets[1]].view(kind).reshape(shape)
        return tensors
