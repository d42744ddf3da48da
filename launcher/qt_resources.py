"""Reads Qt's binary resource files (.rcc), as Qt's rcc writes them and QResource reads them: format versions 1 to 3."""

import struct
import zlib

from messages import fail

HEADER = ">4sIIII"   # magic, version, then where the tree, the data and the names begin
COMPRESSED, DIRECTORY, ZSTANDARD = 1, 2, 4
MAX_NODES = 100_000
MAX_DEPTH = 32
MAX_FILE_BYTES = 64 << 20


class QtResources:
    """The files of one .rcc, {path: bytes}; damaged ones end the program with what is wrong."""

    def __init__(self, name, data):
        self.name_, self.data_ = name, data
        try:
            magic, version, self.tree_, self.contents_, self.names_ = struct.unpack_from(HEADER, data)
            if magic != b"qres" or not 1 <= version <= 3:
                self.fail_(f"must begin with qres and a version 1 to 3, found {data[:8].hex(' ')}")
            self.node_bytes_ = 14 if version == 1 else 22  # later ones end with a time of 8 bytes
            self.entries_, self.seen_ = {}, set()
            self.walk_(0, "", 0)
        except (struct.error, UnicodeDecodeError) as error:
            self.fail_(f"ends or breaks within its structure: {error}")

    def paths(self):
        return sorted(self.entries_)

    def read(self, path):
        flags, begin = self.entries_[path]
        try:
            (length,) = struct.unpack_from(">I", self.data_, begin)
        except struct.error:
            length = len(self.data_)
        content = self.data_[begin + 4:begin + 4 + length]
        if len(content) != length:
            self.fail_(f"ends within {path}")
        if flags & ZSTANDARD:
            self.fail_(f"has {path} compressed with Zstandard, which is not read")
        if not flags & COMPRESSED:
            return content
        try:
            unpacker = zlib.decompressobj()
            unpacked = unpacker.decompress(content[4:], MAX_FILE_BYTES)  # behind the unpacked length, in 4 bytes
        except zlib.error as error:
            self.fail_(f"has {path}, which cannot be unpacked: {error}")
        if not unpacker.eof:
            self.fail_(f"has {path}, which ends too early or has more than {MAX_FILE_BYTES} bytes")
        return unpacked

    def walk_(self, number, path, depth):
        if number in self.seen_ or len(self.seen_) == MAX_NODES or depth > MAX_DEPTH:
            self.fail_(f"must be a tree of at most {MAX_NODES} nodes, {MAX_DEPTH} deep, found another at {path}")
        self.seen_.add(number)
        node = self.tree_ + self.node_bytes_ * number
        name_begin, flags = struct.unpack_from(">IH", self.data_, node)
        if number:
            path += ("/" if path else "") + self.text_(self.names_ + name_begin)
        if flags & DIRECTORY:
            count, first = struct.unpack_from(">II", self.data_, node + 6)
            for child in range(first, first + min(count, MAX_NODES)):
                self.walk_(child, path, depth + 1)
        else:
            (begin,) = struct.unpack_from(">I", self.data_, node + 10)  # behind the country and the language
            self.entries_[path] = flags, self.contents_ + begin

    def text_(self, begin):
        (length,) = struct.unpack_from(">H", self.data_, begin)  # then a hash of 4 bytes, and UTF-16
        return self.data_[begin + 6:begin + 6 + 2 * length].decode("utf-16-be")

    def fail_(self, rule):
        fail(self.name_, f"{rule}. Delete the package and run again.")
