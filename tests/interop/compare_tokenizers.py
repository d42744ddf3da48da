#!/usr/bin/env python3
"""Compares tokens with those of sentencepiece, open_clip and tokenizers, on texts that are hard.

usage: compare_tokenizers.py PROGRAM FOLDER [TEXTS]

PROGRAM is interop_tokens; FOLDER takes the tokenizers and is kept; TEXTS is how many (100,000). Prints a line a kind and each
first difference; the exit code is 1 if there is one.
"""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizer_kinds import all_kinds
from tokenizer_texts import make_texts


def ours(program, file, texts, folder):
    """What stands around texts, (ids, decoded) of each, and texts a second."""
    given, taken = folder / "texts.bin", folder / "tokens.bin"
    given.write_bytes(b"".join(struct.pack("<I", len(t.encode())) + t.encode() for t in texts))
    rate = float(subprocess.run([program, file, given, taken], check=True, stdout=subprocess.PIPE).stdout)
    data, at, results = taken.read_bytes(), 0, []

    def read_ids():
        nonlocal at
        (count,) = struct.unpack_from("<I", data, at)
        ids = list(struct.unpack_from(f"<{count}i", data, at + 4))
        at += 4 + 4 * count
        return ids

    frame = read_ids(), read_ids()
    for _ in texts:
        ids = read_ids()
        (size,) = struct.unpack_from("<I", data, at)
        results.append((ids, data[at + 4:at + 4 + size].decode()))
        at += 4 + size
    return frame, results, rate


def main(program, folder, count):
    folder = Path(folder)
    texts = make_texts(count)
    print(f"{'':42} {'texts':>7} {'tokens':>9} {'ids differ':>10} {'texts differ':>12} {'a second':>9} {'theirs':>9} {'ratio':>6}")
    num_bad = 0
    for name, (file, encode, around, decode) in all_kinds(folder):
        frame, results, rate = ours(program, file, texts, folder)
        begin = time.process_time()
        theirs = [encode(text) for text in texts]
        seconds = time.process_time() - begin
        # Ours may put a begin or an end that the file has and does not ask for.
        bad = sum(bool(asked) and asked != ours for asked, ours in zip(around, frame))
        bad_texts = shown = 0
        for text, (ids, decoded), pieces in zip(texts, results, theirs):
            other = decode(pieces)
            bad += ids != pieces
            bad_texts += decoded != other
            if (ids != pieces or decoded != other) and shown < 3:
                shown += 1
                print(f"  {text[:200]!r}\n    ours   {ids[:40]} {decoded[:150]!r}\n    theirs {pieces[:40]} {other[:150]!r}")
        print(f"{name:42} {len(texts):7} {sum(map(len, theirs)):9} {bad:10} {bad_texts:12} {rate:9.0f} {count / seconds:9.0f} "
              f"{rate * seconds / count:6.2f}", flush=True)
        num_bad += bad + bad_texts
    print(f"{num_bad} differ")
    return 1 if num_bad else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) == 4 else 100_000))
