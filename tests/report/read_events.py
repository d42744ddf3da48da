"""Reads a file of TensorBoard's events with nothing but the specifications: TFRecord's framing, CRC-32C, protocol buffers' wire
format, and the fields of TensorFlow's event.proto, summary.proto and tensor.proto.

Usage: read_events.py FILE..., prints JSON: {"events": [...]} with what each event has, in the files' order."""

import json
import struct
import sys
from pathlib import Path


def crc32c(data):
    """Bit by bit, by the polynomial 0x1EDC6F41 reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def unmask(masked):
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def records(data):
    """The records of a file; a torn last one is left out."""
    at = 0
    while at + 12 <= len(data):
        length, masked = struct.unpack_from("<QI", data, at)
        assert unmask(masked) == crc32c(data[at:at + 8]), f"the length at byte {at} has another checksum"
        if at + 16 + length > len(data):
            return
        body = data[at + 12:at + 12 + length]
        assert unmask(struct.unpack_from("<I", data, at + 12 + length)[0]) == crc32c(body), f"damaged at byte {at}"
        yield body
        at += 16 + length


def fields(message):
    """{number: [value, ...]} of a message."""
    found, at = {}, 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        elif kind == 1:
            value, at = struct.unpack_from("<d", message, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", message, at)[0], at + 4
        else:
            assert kind == 2, kind
            size = varint()
            assert at + size <= len(message)
            value, at = message[at:at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def read_event(message):
    """An event as a dictionary: time, step, and one of version and writer, start, scalars, texts."""
    event = fields(message)
    read = {"time": event[1][0], "step": event.get(2, [0])[0]}
    if 3 in event:
        read["version"] = event[3][0].decode()
        read["writer"] = fields(event[10][0])[1][0].decode()
    if 7 in event:
        read["start"] = fields(event[7][0]) == {1: [1]}
    for value in fields(event[5][0])[1] if 5 in event else []:
        parts = fields(value)
        tag = parts[1][0].decode()
        if 2 in parts:
            read.setdefault("scalars", {})[tag] = parts[2][0]
        else:
            tensor, plugin = fields(parts[8][0]), fields(fields(parts[9][0])[1][0])
            assert tensor[1] == [7] and fields(fields(tensor[2][0])[2][0]) == {1: [1]} and plugin[1] == [b"text"]
            read.setdefault("texts", {})[tag] = tensor[8][0].decode()
    return read


def read_files(paths):
    """The events of files, in their order."""
    return [read_event(message) for path in paths for message in records(Path(path).read_bytes())]


if __name__ == "__main__":
    print(json.dumps({"events": read_files(sys.argv[1:])}))
