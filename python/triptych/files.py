"""Files and JSON from outside: nothing in them is believed before it is checked."""
import json
from pathlib import Path

import xxhash

from .errors import FormatError

_CHUNK = 1 << 22


def hash_of_file(path):
    """XXH3 of 128 bits, as `xxhsum -H2` prints it."""
    state = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def hash_of_bytes(data):
    return xxhash.xxh3_128(data).hexdigest()


def read_bytes(path, most):
    """A whole file of at most `most` bytes."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > most:
            raise FormatError(path, f"must have at most {most} bytes, found {size}. Name the right file")
        return path.read_bytes()
    except OSError as error:
        raise FormatError(path, f"must be a file that can be read: {error.strerror}. Name the right one") from error


def parse_json(data, where):
    """An object; a key that is given twice is refused, since readers differ in which they take."""
    def unique(pairs):
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise FormatError(where, "a key must stand once in its object, one is there twice. The file is damaged")
        return dict(pairs)

    try:
        value = json.loads(data.decode("utf-8") if isinstance(data, bytes) else data, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(where, f"must be JSON in UTF-8: {error}. The file is damaged") from error
    if not isinstance(value, dict):
        raise FormatError(where, f"must be a JSON object, found {type(value).__name__}. The file is damaged")
    return value


def field(table, key, kind, where):
    """table[key], of this type, of a table that may be none; a bool is no integer."""
    value = table.get(key) if isinstance(table, dict) else None
    if not isinstance(value, kind) or isinstance(value, bool) and kind is not bool:
        wanted = getattr(kind, "__name__", str(kind))
        raise FormatError(where, f"`{key}` must be {wanted}, found {str(value):.60}. The file is damaged, or of another version")
    return value


def plain_name(name, where):
    """A file's name that leads out of no folder."""
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise FormatError(where, f"a file must be named without a folder, found {name!r:.80}. The file is damaged")
    return name
