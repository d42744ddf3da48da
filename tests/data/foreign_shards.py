"""Writes one folder a case: valid shards in unusual forms (expected.txt empty) and shards that break one rule each
(expected.txt holds a part of the message).

usage: foreign_shards.py OUT
"""

import io
import pathlib
import sys

import h5py
import numpy as np
from PIL import Image

out = pathlib.Path(sys.argv[1])
buffer = io.BytesIO()
Image.new("RGB", (3, 2), (1, 2, 3)).save(buffer, "PNG")
PNG = buffer.getvalue()


def arrays():
    """Two samples: an image with two captions, and one caption alone."""
    text = "one".encode() + "zwei".encode() + "drei".encode()
    return {
        "images/bytes": np.frombuffer(PNG, np.uint8),
        "images/offsets": np.array([0, len(PNG), len(PNG)], "<u8"),
        "captions/bytes": np.frombuffer(text, np.uint8),
        "captions/offsets": np.array([0, 3, 7, 11], "<u8"),
        "captions/first": np.array([0, 2, 3], "<u8"),
        "samples/ids": np.array([5, 6], "<u8"),
    }


def attributes():
    return {
        "format": "triptych-shard",
        "format_version": 1,
        "data_set_id": "test-set",
        "num_samples": 2,
        "num_captions": 3,
    }


def case(name, expected, change=lambda a, t: None, write=None, **file_options):
    folder = out / name
    folder.mkdir()
    (folder / "expected.txt").write_text(expected)
    data, attrs = arrays(), attributes()
    change(data, attrs)
    with h5py.File(folder / "shard.h5", "w", **file_options) as file:
        for key, value in attrs.items():
            file.attrs[key] = value
        for key, value in data.items():
            if write and write(file, key, value):
                continue
            file[key] = value


def with_array(key, value):
    return lambda a, t: a.__setitem__(key, value)


def with_attribute(key, value):
    return lambda a, t: t.__setitem__(key, value)


def writing(wanted, function):
    """Writes the array `wanted` with `function` instead."""

    def write(file, key, value):
        if key != wanted:
            return False
        function(file, key, value)
        return True

    return write


# Valid, if unusual.
case("ok_plain", "")
case("ok_latest", "", libver="latest")
case("ok_user_block", "", userblock_size=512)
case("ok_fixed_string", "", with_attribute("format", np.bytes_("triptych-shard")))
case("ok_int8_version", "", with_attribute("format_version", np.int8(1)))
case("ok_big_endian_version", "", with_attribute("format_version", np.array(1, ">i4")[()]))
case("ok_extra", "", lambda a, t: (a.update({"samples/urls": np.arange(7.0)}), t.update({"note": "hello"})))
case("ok_labels", "", with_array("samples/labels", np.array([-1, 4], "<i8")))

# Roles and boxes.
ANNOTATIONS = {
    "captions/roles": np.array([3, 1, 0], "u1"),
    "boxes/first": np.array([0, 2, 2], "<u8"),
    "boxes/corners": np.array([0, 0, 3, 2, 1, 1, 2, 2], "<i4"),
    "boxes/classes": np.array([4, -1], "<i8"),
    "boxes/phrases": np.array([-1, 0], "<i4"),
}


def annotated(**changes):
    """Version 2, the image with two boxes; arrays by their names with __ for /, None for one that is missing."""

    def change(a, t):
        t["format_version"] = 2
        a.update(ANNOTATIONS)
        for key, value in changes.items():
            name = key.replace("__", "/")
            if value is None:
                del a[name]
            else:
                a[name] = np.array(value, ANNOTATIONS[name].dtype) if isinstance(value, list) else value

    return change


case("ok_annotated", "", annotated())
case("ok_roles_alone", "", annotated(boxes__first=None, boxes__corners=None, boxes__classes=None, boxes__phrases=None))
case("ok_boxes_alone", "", annotated(captions__roles=None, boxes__classes=[0, 2**31 - 1], boxes__phrases=[-1, -1]))
case("ok_newer_version", "", with_attribute("format_version", 2))
case("ok_group_boxes", "", with_array("boxes/urls", np.arange(3.0)))
case("roles_of_version_1", "'captions/roles' needs format version 2, found 1",
     lambda a, t: (annotated()(a, t), t.update({"format_version": 1})))
case("boxes_of_version_1", "'boxes' needs format version 2, found 1",
     lambda a, t: (annotated(captions__roles=None)(a, t), t.update({"format_version": 1})))
case("few_roles", "'captions/roles' must have 3 elements", annotated(captions__roles=[3, 1]))
case("role_5", "'captions/roles' must be 0 to 3, found 5 at element 1", annotated(captions__roles=[3, 5, 0]))
case("signed_roles", "must be uint8, found int8", annotated(captions__roles=np.array([3, 1, 0], "i1")))
case("answer_first", "sample 1 (id 6): text 0 is an answer, which must follow its question", annotated(captions__roles=[3, 1, 2]))
case("answer_of_a_phrase", "sample 0 (id 5): text 1 is an answer, which must follow", annotated(captions__roles=[3, 2, 0]))
for key in ("first", "corners", "classes", "phrases"):
    case("no_boxes_" + key, f"'boxes/{key}' is missing", annotated(**{"boxes__" + key: None}))
case("few_firsts", "'boxes/first' must have 3 elements", annotated(boxes__first=[0, 2]))
case("few_corners", "'boxes/corners' must have 8 elements for the 2 boxes", annotated(boxes__corners=[0, 0, 3, 2]))
case("many_phrases", "'boxes/phrases' must have 2 elements for the 2 boxes", annotated(boxes__phrases=[-1, 0, -1]))
case("boxes_begin", "'boxes/first' must begin with 0", annotated(boxes__first=[1, 2, 2]))
case("boxes_descend", "'boxes/first' must not descend", annotated(boxes__first=[0, 3, 2]))
case("boxes_huge", "'boxes/first' must end with the number of boxes, 2, found", annotated(boxes__first=[0, 2, 2**63]))
case("float_corners", "'boxes/corners' must be int32", annotated(boxes__corners=np.zeros(8, "<f4")))
case("wide_corners", "'boxes/corners' must be int32, little-endian, found int64", annotated(boxes__corners=np.zeros(8, "<i8")))
case("corners_in_a_table", "must have one dimension, found 2", annotated(boxes__corners=np.zeros((2, 4), "<i4")))
case("huge_class", "'boxes/classes' must be -1 to 2147483647, found 2147483648 at element 0", annotated(boxes__classes=[2**31, -1]))
case("negative_class", "'boxes/classes' must be -1 to 2147483647, found -2", annotated(boxes__classes=[-2, -1]))
INSIDE = "sample 0 (id 5): box 1 must have 0 <= left < right <= 3 and 0 <= top < bottom <= 2 in an image of 3x2, found"
for name, box in {"right": [1, 1, 4, 2], "bottom": [1, 1, 2, 3], "left": [-1, 1, 2, 2], "top": [1, -2**31, 2, 2],
                  "empty": [1, 1, 1, 2], "flipped": [2, 1, 1, 2], "extreme": [1, 1, 2**31 - 1, 2**31 - 1]}.items():
    case("box_beyond_" + name, INSIDE, annotated(boxes__corners=[0, 0, 3, 2, *box]))
case("box_without_an_image", "sample 1 (id 6): has boxes and no image", annotated(boxes__first=[0, 1, 2]))
case("named_by_a_question", "box 1 is named by text 1 of the sample, which is no phrase", annotated(boxes__phrases=[-1, 1]))
case("named_by_another_samples", "box 1 is named by text 2 of the sample, which is no phrase", annotated(boxes__phrases=[-1, 2]))
case("named_by_nothing", "box 1 is named by text -2 of the sample", annotated(boxes__phrases=[-1, -2]))
case("named_without_roles", "box 1 is named by text 0 of the sample, which is no phrase", annotated(captions__roles=None))
case("box_of_nothing", "box 1 has neither a class nor a phrase", annotated(boxes__phrases=[-1, -1]))
case("many_boxes", "sample 0 (id 5): has 1025 boxes, at most 1024 are allowed",
     annotated(boxes__first=[0, 1025, 1025], boxes__corners=[0, 0, 1, 1] * 1025, boxes__classes=[1] * 1025,
               boxes__phrases=[-1] * 1025))

# Attributes.
case("no_format", "'format' is missing", lambda a, t: t.pop("format"))
case("other_format", "must be 'triptych-shard'", with_attribute("format", "webdataset"))
case("format_number", "must be a string", with_attribute("format", 3))
case("long_format", "at most 256", with_attribute("format", np.bytes_("x" * 1000)))
case("newer_version", "version 3 is not known, only 1 and 2 are", with_attribute("format_version", 3))
case("text_version", "must be an integer", with_attribute("format_version", "1"))
case("array_version", "must be one value", with_attribute("format_version", np.array([1, 1])))
case("bad_id", "data_set_id", with_attribute("data_set_id", "a b/c"))
case("empty_id", "data_set_id", with_attribute("data_set_id", ""))
case("negative_count", "num_samples", with_attribute("num_samples", -1))
case("huge_count", "num_samples", with_attribute("num_samples", 2**62))
case("unsigned_count", "num_samples", with_attribute("num_samples", np.uint64(2**64 - 1)))
case("wrong_count", "must have 4 elements", with_attribute("num_samples", 3))
case("wrong_captions", "must have 3 elements", with_attribute("num_captions", 2))

# Missing, types, shapes.
for key in arrays():
    missing = "samples" if key == "samples/ids" else key
    case("no_" + key.replace("/", "_"), f"'{missing}' is missing", lambda a, t, key=key: a.pop(key))
case("no_group", "'images' is missing", lambda a, t: (a.pop("images/bytes"), a.pop("images/offsets")))
case("group_is_array", "'images' must be a group",
     lambda a, t: (a.pop("images/bytes"), a.pop("images/offsets"), a.update({"images": np.arange(3)})))
case("array_is_group", "'samples/ids' must be a dataset", write=writing("samples/ids", lambda f, k, v: f.create_group(k)))
case("int8_bytes", "must be uint8, found int8", with_array("images/bytes", np.frombuffer(PNG, np.int8)))
case("uint16_bytes", "must be uint8, found uint16", with_array("captions/bytes", np.zeros(11, "<u2")))
case("int64_offsets", "must be uint64, little-endian, found int64", with_array("images/offsets", np.array([0, 1, 1], "<i8")))
case("uint32_offsets", "must be uint64, little-endian, found uint32", with_array("images/offsets", np.array([0, 1, 1], "<u4")))
case("big_endian", "not little-endian", with_array("images/offsets", np.array([0, len(PNG), len(PNG)], ">u8")))
case("float_ids", "found no integer", with_array("samples/ids", np.array([1.0, 2.0])))
case("string_ids", "found no integer", with_array("samples/ids", np.array([b"a", b"b"])))
case("two_dimensions", "must have one dimension, found 2", with_array("samples/ids", np.array([[5, 6]], "<u8")))
case("scalar", "must have one dimension, found 0", with_array("samples/ids", np.uint64(3)))
case("null_space", "must have one dimension",
     write=writing("samples/ids", lambda f, k, v: f.create_dataset(k, data=h5py.Empty("<u8"))))
case("unsigned_labels", "must be int64", with_array("samples/labels", np.array([1, 2], "<u8")))

# Storage.
CHUNKS = "must be stored contiguously, found chunked"
case("chunked", CHUNKS, write=writing("images/bytes", lambda f, k, v: f.create_dataset(k, data=v, chunks=(16,))))
case("compressed", CHUNKS, write=writing("images/bytes", lambda f, k, v: f.create_dataset(k, data=v, compression="gzip")))
case("resizable", CHUNKS, write=writing("captions/bytes", lambda f, k, v: f.create_dataset(k, data=v, maxshape=(None,))))
case("unwritten", "never written", write=writing("samples/ids", lambda f, k, v: f.create_dataset(k, (2,), "<u8")))


def compact(file, key, value):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    group = file.require_group(key.split("/")[0])
    space = h5py.h5s.create_simple(value.shape)
    dataset = h5py.h5d.create(group.id, key.split("/")[1].encode(), h5py.h5t.STD_U64LE, space, properties)
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, value)


def external(file, key, value):
    (out / "secret.bin").write_bytes(b"0123456789abcdef")
    file.create_dataset(key, (2,), "<u8", external=[(str(out / "secret.bin"), 0, 16)])


def virtual(file, key, value):
    layout = h5py.VirtualLayout((2,), "<u8")
    layout[:] = h5py.VirtualSource(str(out / "ok_plain" / "shard.h5"), "samples/ids", (2,))
    file.create_virtual_dataset(key, layout)


def external_link(file, key, value):
    file[key] = h5py.ExternalLink(str(out / "ok_plain" / "shard.h5"), "samples/ids")


def soft_link(file, key, value):
    file[key] = h5py.SoftLink("/images/offsets")


def external_group(file, key, value):
    if "samples" not in file:
        file["samples"] = h5py.ExternalLink(str(out / "ok_plain" / "shard.h5"), "samples")


case("compact", "found compact", write=writing("samples/ids", compact))
case("external", "external storage", write=writing("samples/ids", external))
case("virtual", "found virtual", write=writing("samples/ids", virtual))
case("external_link", "soft or external link", write=writing("samples/ids", external_link))
case("external_group", "soft or external link", write=writing("samples/ids", external_group))
case("soft_link", "soft or external link", write=writing("samples/ids", soft_link))

# Offsets.
N = len(PNG)
case("offsets_begin", "must begin with 0, found 1", with_array("images/offsets", np.array([1, N, N], "<u8")))
case("offsets_descend", "must not descend", with_array("images/offsets", np.array([0, N + 1, N], "<u8")))
case("offsets_short", f"must end with the length of images/bytes, {N}, found {N - 1}",
     with_array("images/offsets", np.array([0, N - 1, N - 1], "<u8")))
case("offsets_huge", "must end with", with_array("images/offsets", np.array([0, N, 2**64 - 1], "<u8")))
case("captions_descend", "must not descend", with_array("captions/offsets", np.array([0, 7, 3, 11], "<u8")))
case("first_huge", "must end with the number of captions, 3", with_array("captions/first", np.array([0, 2, 2**63], "<u8")))
case("first_descends", "must not descend", with_array("captions/first", np.array([0, 4, 3], "<u8")))

# Samples.
case("not_utf8", "sample 0 (id 5): caption 1 is not UTF-8", with_array("captions/bytes", np.frombuffer(b"one\xff\xfe__drei", np.uint8)))
case("split_utf8", "is not UTF-8", with_array("captions/bytes", np.frombuffer("on\u00e9eidrei..".encode()[:11], np.uint8)))
case("empty_caption", "caption 0 is empty", with_array("captions/offsets", np.array([0, 0, 7, 11], "<u8")))
case("broken_image", "sample 0 (id 5)", with_array("images/bytes", np.zeros(N, np.uint8)))
case("same_ids", "the id 5 was already that of shard.h5 sample 0", with_array("samples/ids", np.array([5, 5], "<u8")))
case("bad_label", "the label -2 is less than -1", with_array("samples/labels", np.array([-2, 4], "<i8")))
case("nothing", "has neither image nor captions",
     lambda a, t: (a.update({"captions/first": np.array([0, 3, 3], "<u8")})))


def bomb(a, t):
    """A PNG header that claims 100,000 x 100,000 pixels."""
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", 100000, 100000, 8, 2, 0, 0, 0)
    png = PNG[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
    assert len(png) == N
    a["images/bytes"] = np.frombuffer(png, np.uint8)


case("bomb", "sample 0 (id 5)", bomb)


def many_captions(a, t):
    t["num_captions"] = 1025
    a["captions/bytes"] = np.full(1025, 97, np.uint8)
    a["captions/offsets"] = np.arange(1026).astype("<u8")
    a["captions/first"] = np.array([0, 1025, 1025], "<u8")
    a["images/offsets"] = np.array([0, 0, N], "<u8")


case("many_captions", "has 1025 captions, at most 1024", many_captions)


def long_caption(a, t):
    a["captions/bytes"] = np.full(65548, 97, np.uint8)
    a["captions/offsets"] = np.array([0, 65537, 65544, 65548], "<u8")


case("long_caption", "caption 0 has 65537 bytes, at most 65536", long_caption)


def empty(a, t):
    t["num_samples"] = t["num_captions"] = 0
    for key in a:
        a[key] = np.zeros(1 if "offsets" in key or "first" in key else 0, a[key].dtype)


case("empty", "is an empty data set", empty)


# Two names of one array: it would be read as two.
folder = out / "shared_array"
folder.mkdir()
(folder / "expected.txt").write_text("two arrays overlap")
data, attrs = arrays(), attributes()
attrs["num_captions"] = 2
data["captions/bytes"] = np.full(2, 97, np.uint8)
data["captions/first"] = np.array([0, 1, 2], "<u8")
del data["captions/offsets"]
with h5py.File(folder / "shard.h5", "w") as file:
    for key, value in attrs.items():
        file.attrs[key] = value
    for key, value in data.items():
        file[key] = value
    file["captions/offsets"] = file["captions/first"]

# Not HDF5 at all.
for name, contents in {"not_hdf5": b"hello" * 1000, "zero_bytes": b"", "only_signature": b"\x89HDF\r\n\x1a\n"}.items():
    folder = out / name
    folder.mkdir()
    (folder / "expected.txt").write_text("HDF5 cannot open it")
    (folder / "shard.h5").write_bytes(contents)
