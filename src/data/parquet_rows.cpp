#include "data/parquet_rows.h"

namespace triptych::data {

// Memory: pyarrow holds the wanted columns of 64 rows, and the pages of Parquet that they lie in.
const std::string_view kParquetRowsScript = R"python(
import sys

if sys.path and sys.path[0] == "":  # the folder that the program was called in is no place for modules
    del sys.path[0]

import struct

MAX_IMAGE, MAX_TEXT, MAX_CAPTIONS = 64 << 20, 64 << 10, 1024
IMAGES = ("image", "jpg", "jpeg", "png", "webp", "image_bytes", "image_path", "filepath", "file_name", "path")
CAPTIONS = ("caption", "captions", "text", "TEXT", "title")


def send(kind, data=b""):
    sys.stdout.buffer.write(kind + struct.pack("<I", len(data)) + data)


def say(kind, text):
    send(kind, str(text).encode("utf-8", "replace")[:2000])


class Failed(Exception):
    pass


def choose(names, wanted, usual, what, option):
    if wanted:
        if wanted not in names:
            raise Failed(f"has no column '{wanted}'. It has: {', '.join(names)[:1000]}. Choose one with {option}.")
        return wanted
    found = next((name for name in usual if name in names), None)
    if found is None:
        raise Failed(f"has no column of {what} under a usual name ({', '.join(usual)}). It has: {', '.join(names)[:1000]}. "
                     f"Choose one with {option}.")
    return found


def send_image(value):
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        say(b"P", "has no image")
    elif isinstance(value, bytes):
        send(b"I", value) if len(value) <= MAX_IMAGE else say(b"P", f"its image has {len(value)} bytes, at most {MAX_IMAGE} "
                                                                    "are allowed")
    elif isinstance(value, str):
        name = value.encode("utf-8", "replace")
        send(b"N", name) if len(name) <= 4096 else say(b"P", "its image's name is longer than 4096 bytes")
    else:
        say(b"P", f"its image is a {type(value).__name__}, and neither bytes nor a name")


def send_captions(value):
    values = value if isinstance(value, list) else [value]
    if not values or value is None:
        return say(b"Q", "has no caption")
    if len(values) > MAX_CAPTIONS:
        return say(b"Q", f"has {len(values)} captions, at most {MAX_CAPTIONS} are allowed")
    for each in values:
        if not isinstance(each, str):
            say(b"Q", f"has a caption that is a {type(each).__name__}, and no string")
        elif len(text := each.encode("utf-8", "replace")) > MAX_TEXT:
            say(b"Q", f"a caption has {len(text)} bytes, at most {MAX_TEXT} are allowed")
        else:
            send(b"C", text)


def main(path, passed_over, image, caption, label):
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        return say(b"M", error)
    try:
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        names = file.schema_arrow.names
        image = choose(names, image, IMAGES, "images", "--image-column")
        caption = choose(names, caption, CAPTIONS, "captions", "--caption-column")
        if label:
            choose(names, label, (), "labels", "--label-column")
        first, groups = 0, []
        for group in range(file.num_row_groups):  # whole ones that are passed over are not read
            rows = file.metadata.row_group(group).num_rows
            if not groups and first + rows <= passed_over:
                first += rows
            else:
                groups.append(group)
        columns = list(dict.fromkeys([image, caption] + ([label] if label else [])))
        for batch in file.iter_batches(batch_size=64, row_groups=groups, columns=columns):
            for row in batch.to_pylist():
                first += 1
                if first <= passed_over:
                    continue
                send_image(row[image])
                send_captions(row[caption])
                if label and row[label] is not None:
                    send(b"L", str(row[label]).encode("utf-8", "replace")[:1024])
                send(b"R")
        send(b"E")
    except Failed as error:
        say(b"F", error)
    except Exception as error:  # pyarrow raises kinds of its own, OSError and others
        say(b"F", f"cannot be read as Parquet ({type(error).__name__}: {error}). Fetch or write it again.")


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:6])
sys.stdout.flush()
)python";

}  // namespace triptych::data
