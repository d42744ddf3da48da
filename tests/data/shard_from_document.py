"""Writes shards with the h5py example of docs/shard-format.md, run as it stands there.

usage: shard_from_document.py DOCUMENT OUT
Beside the shards, OUT/expected/ gets what each sample must read back as: <id>.image, <id>.captions (one a line).
"""

import io
import pathlib
import re
import sys

from PIL import Image

document, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
example = re.search(r"```python\n(.*?)```", document.read_text("utf-8"), re.S).group(1)
exec(example)  # defines write_shard


def encoded(kind, size, color):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


samples = [
    (900, encoded("PNG", (7, 5), (255, 0, 0)), ["a red rectangle", "ein rotes Rechteck", "一个红色的矩形"], 3),
    (2**64 - 1, encoded("JPEG", (31, 17), (0, 255, 0)), ["green"], None),
    (0, b"", ["only words"], 0),
    (17, encoded("WEBP", (9, 11), (0, 0, 255)), [], 2**40),
    (18, encoded("PNG", (1, 1), (9, 9, 9)), ["née 🍎"], None),
]
write_shard(out / "b.h5", "0e6d2f0e-4a43-4b8e-9d0c-0c9f5b0e7a11", samples[3:])
write_shard(out / "a.h5", "0e6d2f0e-4a43-4b8e-9d0c-0c9f5b0e7a11", samples[:3])
write_shard(out / "c.h5", "0e6d2f0e-4a43-4b8e-9d0c-0c9f5b0e7a11", [])
annotated = [
    (40, encoded("PNG", (7, 5), (255, 0, 0)), ["what is red?", "all", "a corner", "a side"], 0),
    (41, b"", ["only words"], None),
]
(out / "annotated").mkdir()
write_shard(out / "annotated" / "a.h5", "d-1", annotated, [[1, 2, 3, 3], [0]],
            [[(0, 0, 2, 2, -1, 2), (0, 0, 7, 5, 2**31 - 1, -1), (6, 0, 7, 5, 0, 3)], []])
write_shard(out / "annotated" / "b.h5", "d-1", samples[:3])
expected = out / "expected"
expected.mkdir()
for sample_id, image, captions, label in samples:
    (expected / f"{sample_id}.image").write_bytes(image)
    (expected / f"{sample_id}.captions").write_bytes("".join(c + "\n" for c in captions).encode("utf-8"))
