#!/usr/bin/env python3
"""`triptych ingest` of files that webdataset, pyarrow and a COCO file of Tux Paint's stamps hold: what is in the shards, a few
steps of training on each, the rate beside webdataset's own writer, and the memory that a large archive takes.

usage: check_ingest.py TRIPTYCH STAMPS [--gigabytes N]
  STAMPS   a set that launcher/make_stamps_data.py has made: captions.jsonl, images/ and classes.txt
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "launcher"))
from read_shards import read_samples  # noqa: E402
from small_runs import CONFIG  # noqa: E402

VOCABULARY = 2000


def run(*words):
    """What a command says, and its seconds."""
    began = time.monotonic()
    result = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{words} ended with {result.returncode}:\n{result.stdout}")
    return result.stdout, time.monotonic() - began


def peak_of(*words):
    """The peak memory of a command in MiB, and its seconds. It is started by a small process, since the peak of a process that
    was forked begins with what its parent has."""
    watch = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
             "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    said, seconds = run(sys.executable, "-S", "-c", watch, *words)
    return int(said) / 1024, seconds


def must(fact, what):
    if not fact:
        sys.exit(f"not so: {what}")
    print(f"  {what}")


def read_stamps(folder):
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    for line in lines:
        line["bytes"] = (folder / "images" / line["image"]).read_bytes()
    return lines


def write_webdataset(pattern, lines, per_shard):
    with wds.ShardWriter(pattern, maxcount=per_shard, verbose=0) as writer:
        for line in lines:
            writer.write({"__key__": f"{line['id']:06}", "png": line["bytes"], "json": {"caption": line["captions"]},
                          "cls": line["label"]})


def write_coco(path, lines):
    annotations = [(line["id"], caption) for line in lines for caption in line["captions"]]
    size = {line["id"]: Image.open(io.BytesIO(line["bytes"])).size for line in lines}
    path.write_text(json.dumps({
        "info": {"description": "Tux Paint's stamps"}, "licenses": [],
        "images": [{"id": line["id"], "file_name": line["image"], "width": size[line["id"]][0],
                    "height": size[line["id"]][1]} for line in lines],
        "annotations": [{"id": k, "image_id": image, "caption": text} for k, (image, text) in enumerate(annotations)]}))


def write_parquets(folder, lines):
    captions, images = [line["captions"] for line in lines], [line["bytes"] for line in lines]
    labels = [line["label"] for line in lines]
    pq.write_table(pa.table({"jpg": images, "caption": [texts[0] for texts in captions], "url": ["x"] * len(lines)}),
                   folder / "laion.parquet", row_group_size=100)
    structs = [{"bytes": data, "path": line["image"]} for line, data in zip(lines, images)]
    pq.write_table(pa.table({"image": structs, "text": captions, "label": labels}), folder / "hugging_face.parquet",
                   compression="zstd")
    pq.write_table(pa.table({"file_name": [line["image"] for line in lines], "TEXT": captions}), folder / "names.parquet")


def train(triptych, data, config):
    """The losses of three steps; all sets have the tokenizer of the first."""
    tokenizer = data.parent / "tokenizer.model"
    if not tokenizer.exists():
        run(triptych, "tokenizer", "train", data, "--vocabulary", VOCABULARY)
        shutil.copy(data / "tokenizer.model", tokenizer)
    shutil.copy(tokenizer, data)
    folder = data.parent / f"run_{data.name}"
    run(triptych, "train", config, "--set", f'run.dir="{folder}"', "--set", f'data.path="{data}"', "--set", "training.steps=3",
        "--set", "checkpoint.every=0", "--set", f"model.text.vocabulary={VOCABULARY}")
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]


def check_formats(triptych, stamps, folder):
    lines = read_stamps(stamps)
    by_id = sorted(lines, key=lambda line: line["id"])
    write_webdataset(str(folder / "stamps-%06d.tar"), by_id, 150)
    write_coco(folder / "captions_stamps.json", lines)
    write_parquets(folder, by_id)
    python = ["--python", sys.executable]
    every = {
        "webdataset": ["webdataset", f"{folder}/stamps-{{000000..{(len(lines) - 1) // 150:06}}}.tar", "--classes",
                       stamps / "classes.txt"],
        "coco": ["coco", folder / "captions_stamps.json", "--images", stamps / "images"],
        "laion": ["parquet", folder / "laion.parquet", *python],
        "hugging_face": ["parquet", folder / "hugging_face.parquet", "--label-column", "label", *python],
        "names": ["parquet", folder / "names.parquet", "--images", stamps / "images", *python],
    }
    config = folder / "run.toml"
    config.write_text(CONFIG)
    for name, words in every.items():
        data = folder / name
        run(triptych, "ingest", *words, "--decode", "--samples-per-shard", 200, "--out", data)
        found = read_samples(data)
        wanted = [line["captions"][:1] if name == "laion" else line["captions"] for line in by_id]
        must([sample.image for sample in found] == [line["bytes"] for line in by_id]
             and [sample.captions for sample in found] == wanted, f"{name}: {len(found)} pictures and captions are those written")
        if name in ("webdataset", "hugging_face"):
            must([sample.label for sample in found] == [line["label"] for line in by_id], f"{name}: labels too")
        losses = train(triptych, data, config)
        must(len(losses) == 3 and np.isfinite(losses).all(), f"{name}: three steps of training, losses "
             + ", ".join(f"{loss:.4f}" for loss in losses))


def check_skipping(triptych, stamps, folder):
    lines = sorted(read_stamps(stamps), key=lambda line: line["id"])[:200]
    for k, line in enumerate(lines):
        if k % 20 == 3:
            line["bytes"] = line["bytes"][:len(line["bytes"]) // 2]
        if k % 50 == 7:
            line["captions"] = [" "]
    write_webdataset(str(folder / "bad-%02d.tar"), lines, 100)
    said, _ = run(triptych, "ingest", "webdataset", folder / "bad-{00..01}.tar", "--decode", "--skip-bad", "10%", "--out",
                     folder / "bad")
    print("".join(f"  | {line}\n" for line in said.splitlines()), end="")
    must("left out 14 of 200 samples (7 %)" in said and "10 image's pixels damaged" in said and "4 text missing" in said,
         "10 cut pictures and 4 captions without text are left out")


def check_rate(triptych, stamps, folder):
    """Both write the same pictures from memory or from the page cache, on the machine's processors."""
    lines = sorted(read_stamps(stamps), key=lambda line: line["id"])
    lines = [line | {"id": line["id"] + 10000 * copy} for copy in range(8) for line in lines]
    times = {"webdataset": [], "triptych": []}
    for attempt in range(3):
        began = time.monotonic()
        write_webdataset(str(folder / "rate-%06d.tar"), lines, 1024)
        os.sync()
        times["webdataset"].append(time.monotonic() - began)
        _, seconds = run(triptych, "ingest", "webdataset", folder / "rate-*.tar", "--out", folder / f"rate_{attempt}")
        times["triptych"].append(seconds)
    rates = {name: len(lines) / min(seconds) for name, seconds in times.items()}
    size = sum(len(line["bytes"]) for line in lines) / len(lines) / 1024
    print(f"  {len(lines)} pictures of {size:.0f} KiB: webdataset's ShardWriter {rates['webdataset']:.0f} samples/s, triptych ingest, "
          f"which checks and indexes, {rates['triptych']:.0f} samples/s: {rates['triptych'] / rates['webdataset']:.2f} times")


def check_memory(triptych, folder, gigabytes):
    """An archive ten times as long takes no more memory."""
    rng = np.random.default_rng(1)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (256, 256, 3), np.uint8)).save(buffer, "JPEG", quality=95)
    picture = buffer.getvalue()
    peaks = []
    for part, count in (("small", 0.1), ("large", 1)):
        path = folder / f"{part}.tar"
        with wds.TarWriter(str(path)) as writer:
            for k in range(int(count * gigabytes * 2**30 / len(picture))):
                writer.write({"__key__": f"{k:08}", "jpg": picture, "txt": f"caption {k}"})
        peak, seconds = peak_of(triptych, "ingest", "webdataset", path, "--out", folder / f"memory_{part}",
                                "--samples-per-shard", 512)
        print(f"  an archive of {path.stat().st_size / 2**20:.0f} MiB: {seconds:.1f} s, {peak:.0f} MiB of memory at most")
        peaks.append(peak)
        path.unlink()
    must(peaks[1] < peaks[0] + 100, "an archive ten times as long takes less than 100 MiB more")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("triptych", type=Path)
    parser.add_argument("stamps", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1, help="of the large archive (default: 1)")
    options = parser.parse_args()
    triptych = options.triptych.resolve()
    with tempfile.TemporaryDirectory(prefix="triptych_ingest_") as scratch:
        folder = Path(scratch)
        check_formats(triptych, options.stamps, folder)
        check_skipping(triptych, options.stamps, folder)
        check_rate(triptych, options.stamps, folder)
        check_memory(triptych, folder, options.gigabytes)


if __name__ == "__main__":
    main()
