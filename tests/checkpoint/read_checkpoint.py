"""Reads a checkpoint with the example of docs/checkpoint-format.md, taken out of the document.

usage: read_checkpoint.py DOCUMENT STEP_FOLDER OUT_FOLDER   writes each tensor's bytes to OUT_FOLDER/NAME
"""
import pathlib
import sys

document, folder, out = map(pathlib.Path, sys.argv[1:])
code = document.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
assert len(code.splitlines()) <= 24, "the example has grown"
example = {}
exec(code, example)

out.mkdir()
manifest, tensors = example["read_checkpoint"](folder)
assert manifest["cursor"]["seed"] == 0xFEDCBA9876543210 and manifest["extra"]["one"] == 1.0
for name, array in tensors.items():
    (out / name).write_bytes(array.tobytes())
