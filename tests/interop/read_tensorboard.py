#!/usr/bin/env python3
"""Has TensorBoard's own reader read the events of a run, and compares all numbers with the run's metrics.jsonl and
evaluations.jsonl.

usage: read_tensorboard.py RUN_DIR
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator

GROUPS = {"samples_per_s": "speed", "step_ms": "speed", "loader_wait_ms": "speed", "tflops": "speed",
          "peak_share": "speed", "rss_mb": "memory"}  # all others: train


def as_float32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def expected(run):
    """{tag: {step: (time or None, value)}}."""
    tags = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        for key, value in line.items():
            if key not in ("step", "time") and value is not None:
                tag = f"{GROUPS.get(key, 'train')}/{key}"
                tags.setdefault(tag, {})[line["step"]] = (line["time"], as_float32(value))
    held_out = run / "evaluations.jsonl"
    for line in map(json.loads, held_out.read_text().splitlines() if held_out.exists() else []):
        for name, value in line["metrics"].items():
            if value is not None:
                tags.setdefault("held-out " + name.replace(": ", "/", 1), {})[line["step"]] = (None, as_float32(value))
    return tags


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    accumulator = event_accumulator.EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    wanted = expected(run)
    found = {tag: {event.step: (event.wall_time, event.value) for event in accumulator.Scalars(tag)}
             for tag in accumulator.Tags()["scalars"]}
    assert set(found) == set(wanted), set(found) ^ set(wanted)
    for tag, values in wanted.items():
        assert list(found[tag]) == sorted(values), (tag, "has other steps")
        for step, (time, value) in values.items():
            assert found[tag][step][1] == value, (tag, step, found[tag][step], value)
            assert time is None or found[tag][step][0] == time, (tag, step)
    assert accumulator.Tags()["tensors"] == ["config"], accumulator.Tags()["tensors"]
    text = accumulator.Tensors("config")[-1].tensor_proto.string_val[0].decode()
    assert text == f"```toml\n{(run / 'config.toml').read_text()}\n```\n", "the config is another"
    points = sum(len(values) for values in found.values())
    print(f"  {run}: {points} values of {len(found)} tags are those of metrics.jsonl, as float32; the config is there")


if __name__ == "__main__":
    main()
