#!/usr/bin/python3
"""The parts of the Python package that need Debian packages alone, against the program: checkpoints, data sets, pictures, texts,
metrics. tests/interop/run python compares the models, which need PyTorch.

usage: test_package.py TRIPTYCH INTEROP_OUTPUTS   the program, and what writes what it makes of a data set
"""

import itertools
import json
import multiprocessing
import pickle
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import numpy as np

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "launcher")]
import small_runs  # noqa: E402
import triptych  # noqa: E402
from odd_pictures import all_pictures, drawn, saved  # noqa: E402

OUTPUTS = None
TEXTS = ("a red disc", "  Ünïcode  ﬁne \t text ", "日本の旗 🇯🇵", "x", "\u200b a",
         "one two three four five six seven eight nine ten eleven")


def one_sample(arguments):
    """In another process: what a worker reads."""
    shards, number = arguments
    return shards[number]["captions"]


class Package(small_runs.SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Pictures of all kinds, one label, and texts that only a tokenizer's normalisation makes equal.
        images = cls.folder / "odd"
        images.mkdir()
        cls.pictures = all_pictures()
        with open(images / "captions.jsonl", "w", encoding="utf-8") as lines:
            for number, (name, data) in enumerate(cls.pictures.items()):
                (images / name).write_bytes(data)
                captions = [f"picture {number}", TEXTS[number % len(TEXTS)]]
                lines.write(json.dumps({"image": name, "captions": captions, "id": 1000 + number} |
                                       ({"label": number % 3} if number % 4 else {})) + "\n")
            lines.write(json.dumps({"captions": ["a text alone"], "id": 7}) + "\n")
        cls.odd = cls.folder / "odd_data"
        cls.program("ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out", cls.odd,
                    "--samples-per-shard", "10")

    @classmethod
    def train(cls, run, **_):
        cls.program("train", cls.folder / "run.toml", "--set", f'run.dir="{run}"', "--set", f'data.path="{cls.data}"',
                    "--set", "parallel.tp=2", "--set", "parallel.pp=2", ranks=4)

    def outputs(self, items, slot, *fields, fit="crop", filter="linear"):
        """What the program makes of the odd pictures and texts, raw."""
        folder = self.folder / "outputs"
        folder.mkdir(exist_ok=True)
        config = self.folder / "effective.toml"
        text = (self.base / "config.toml").read_text()
        text = text.replace('fit = "crop"', f'fit = "{fit}"').replace('filter = "linear"', f'filter = "{filter}"')
        self.assertTrue(f'fit = "{fit}"' in text and f'filter = "{filter}"' in text)
        config.write_text(text)
        subprocess.run([OUTPUTS, config, "latest", self.odd, items, folder, *fields, "--slots", slot], check=True)
        return [np.fromfile(folder / f"{name}.bin", np.uint8) for name in fields]

    # ---- Checkpoints

    def test_a_checkpoint_of_a_mesh_is_what_the_documented_reader_finds(self):
        checkpoint = triptych.Checkpoint(self.base)
        self.assertEqual(checkpoint.mesh, {"pp": 2, "dp": 1, "cp": 1, "tp": 2})
        self.assertEqual((checkpoint.step, checkpoint.config["model"]["image"]["width"]), (6, 24))
        document = (ROOT / "docs" / "checkpoint-format.md").read_text(encoding="utf-8")
        reader = {}
        exec(re.search(r"```python\n(.*?)```", document, re.S)[1], reader)  # noqa: S102  (the page's own reader)
        manifest, tensors = reader["read_checkpoint"](checkpoint.folder)
        self.assertEqual(set(checkpoint.names()), {name for name in manifest["tensors"] if "_moment" not in name})
        for name, values in tensors.items():
            np.testing.assert_array_equal(checkpoint.tensor(name), values, name)
            self.assertGreater(len(manifest["tensors"]["image.blocks.0.attention.qkv.weight"]["pieces"]), 1)

    def damaged(self, change):
        """A copy of the last checkpoint in which `change` has damaged something."""
        copy = self.folder / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(triptych.Checkpoint(self.base).folder, copy)
        change(copy)
        return copy

    def test_damage_is_found(self):
        def flip(name, place):
            def change(folder):
                data = bytearray((folder / name).read_bytes())
                data[place] ^= 1
                (folder / name).write_bytes(bytes(data))
            return change

        def cut(folder):
            data = (folder / "rank_00001.safetensors").read_bytes()
            (folder / "rank_00001.safetensors").write_bytes(data[:-1])

        for change, why in ((flip("rank_00000.safetensors", -5), "its hash"), (flip("manifest.json", 700), "self_hash|JSON|`"),
                            (cut, "must have"), (lambda folder: (folder / "rank_00003.safetensors").unlink(), "must have")):
            folder = self.damaged(change)
            with self.assertRaisesRegex(triptych.FormatError, why):
                checkpoint = triptych.Checkpoint(folder)
                for name in checkpoint.names():
                    checkpoint.parameter(name)

    def test_a_manifest_that_lies_is_refused(self):
        from triptych.files import hash_of_bytes

        def forged(change):
            def write(folder):
                manifest = json.loads((folder / "manifest.json").read_text())
                change(manifest)
                manifest["self_hash"] = "0" * 32
                text = json.dumps(manifest, indent=1)
                text = text.replace('"self_hash": "' + "0" * 32, '"self_hash": "' + hash_of_bytes(text.encode()))
                (folder / "manifest.json").write_text(text)
            return write

        name = "image.blocks.0.attention.qkv.weight"

        def tensor(manifest):
            return manifest["tensors"][name]

        lies = {"another version": lambda m: m.update(version=2), "a folder": lambda m: m["files"][0].update(name="../x"),
                "a piece beyond": lambda m: tensor(m)["pieces"][0].update(begin=[1, 12, 0]),
                "a gap": lambda m: tensor(m)["pieces"].pop(), "a huge tensor": lambda m: tensor(m).update(
                    shape=[1 << 40, 24, 24], pieces=[tensor(m)["pieces"][0] | {"shape": [1 << 40, 24, 24], "begin": [0, 0, 0]}]),
                "twice": lambda m: tensor(m).update(pieces=[tensor(m)["pieces"][0]] * 2),
                "another key": lambda m: tensor(m)["pieces"][0].update(key="image.embed.positions"),
                "a negative begin": lambda m: tensor(m)["pieces"][0].update(begin=[0, -12, 0])}
        self.assertEqual(triptych.Checkpoint(self.damaged(forged(lambda m: None))).parameter(name).shape, (3, 24, 24))
        for what, change in lies.items():
            folder = self.damaged(forged(change))
            with self.assertRaises(triptych.FormatError, msg=what):
                triptych.Checkpoint(folder).parameter(name)

    # ---- Data sets

    def test_samples_are_what_was_ingested(self):
        shards = triptych.Shards(self.odd)
        self.assertEqual(len(shards), len(self.pictures) + 1)
        for number, data in enumerate(self.pictures.values()):
            sample = shards[number]
            self.assertEqual((sample["id"], sample["captions"]), (1000 + number, [f"picture {number}", TEXTS[number % len(TEXTS)]]))
            self.assertEqual(sample["label"], number % 3 if number % 4 else None)
            self.assertEqual(shards.image_bytes(number), data)
        last = shards[-1]
        self.assertEqual((last["image"], last["captions"], last["id"], last["boxes"].shape), (None, ["a text alone"], 7, (0, 4)))
        with self.assertRaises(IndexError):
            shards[len(shards)]

    def test_boxes_and_roles(self):
        small_runs.make_scenes(self.folder, self.program)
        shards = triptych.Shards(self.folder / "scenes")
        self.assertEqual(shards.class_names, list(small_runs.COLORS))
        for number in range(22):
            line, sample = small_runs.draw_scene(number)[1], shards[number]
            self.assertEqual([sample["captions"], sample["questions"], sample["answers"]],
                             [line.get("captions", []), [line["question"]] if "question" in line else [], line.get("answers", [])])
            self.assertEqual(sample["boxes"].tolist(), line.get("boxes", []))
            self.assertEqual(sample["box_classes"].tolist(), line.get("classes", []))
            self.assertEqual([sample["phrases"][k] for k in sample["box_phrases"]], line.get("phrases", []))
            self.assertEqual(sample["label_name"], small_runs.COLORS[line["label"]])

    def test_workers_forked_and_spawned_read_the_same(self):
        shards = triptych.Shards(self.odd, transform=None)
        shards[0]  # its file is open here
        expected = [shards[number]["captions"] for number in range(len(shards))]
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                self.assertEqual(pool.map(one_sample, [(shards, number) for number in range(len(shards))]), expected, method)
        self.assertEqual(pickle.loads(pickle.dumps(shards))[3]["captions"], expected[3])

    def test_damaged_data_are_found(self):
        for name, place, when in (("index.bin", 70, "open"), ("index.json", 40, "open"), ("shard_00000.h5", None, "read")):
            copy = self.folder / "damaged_data"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.odd, copy)
            data = bytearray((copy / name).read_bytes())
            place = data.index(self.pictures["wide.png"]) + 20 if place is None else place
            data[place] ^= 4
            (copy / name).write_bytes(bytes(data))
            with self.assertRaises(triptych.FormatError, msg=name):
                shards = triptych.Shards(copy)
                self.assertEqual(when, "read")
                for number in range(len(shards)):
                    shards[number]

    # ---- What models see

    def test_pixels_are_the_programs_bytes(self):
        size, shards = 16, triptych.Shards(self.odd)
        for fit, filter in itertools.product(("crop", "stretch"), ("linear", "cubic")):
            pixels, = self.outputs("samples", "image_embedding", "pixels", fit=fit, filter=filter)
            pixels, pictures = pixels.reshape(-1, size, size, 3), triptych.Pictures(size, fit, filter)
            self.assertEqual(len(pixels), len(shards))
            differing = []
            for number, name in enumerate(self.pictures):
                for picture in (shards.image_bytes(number), shards[number]["image"], self.folder / "odd" / name):
                    if not np.array_equal(pictures.one(picture), pixels[number]):
                        differing.append(name)
            self.assertEqual(differing, [], (fit, filter))

    def test_what_would_differ_is_refused(self):
        deep = saved(drawn(20, 20, 1).convert("I"), "PNG")
        pictures = triptych.Pictures(8)
        for data, why in ((deep, "8 bits"), (b"GIF89a", "JPEG, PNG or WebP"), (saved(drawn(9, 9, 1), "PNG")[:-30], "whole")):
            with self.assertRaisesRegex(triptych.FormatError, why):
                pictures.one(data)
        with self.assertRaises(TypeError):
            pictures("a.jpg")

    def test_tokens_are_the_programs(self):
        tokens, lengths = self.outputs("texts", "text_embedding", "tokens", "lengths")
        tokens, lengths = tokens.view(np.int32).reshape(-1, 9), lengths.view(np.int32)
        texts = [text for sample in map(triptych.Shards(self.odd).__getitem__, range(len(self.pictures) + 1))
                 for text in sample["captions"]]
        tokenizer = triptych.Tokenizer(triptych.Checkpoint(self.base).file("tokenizer.model"))
        ours, our_lengths = tokenizer(texts, 9)
        np.testing.assert_array_equal(ours, tokens)
        np.testing.assert_array_equal(our_lengths, lengths)
        self.assertTrue((lengths == 9).any() and (lengths < 9).any())
        self.assertEqual(tokenizer.decode(tokenizer(["A  red disc"], 20)[0][0]), "a red disc")
        self.assertEqual(pickle.loads(pickle.dumps(tokenizer))(["a disc"], 6)[0].tolist(), tokenizer(["a disc"], 6)[0].tolist())

    def test_a_tokenizer_without_its_checksum_is_refused(self):
        data = (self.data / "tokenizer.model").read_bytes()
        path = self.folder / "bad.model"
        for bad in (data[:100], b"", data[:50] + b"\0" + data[51:], data[:-1] + b"\0", b"\x1f\x8b"):
            path.write_bytes(bad)
            with self.assertRaises(triptych.FormatError):
                triptych.Tokenizer(path)

    # ---- Metrics

    def test_metrics_are_the_files_numbers(self):
        columns = triptych.metrics(self.base)
        lines = [json.loads(line) for line in (self.base / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual(list(columns["step"]), [1, 2, 3, 4, 5, 6])
        self.assertEqual(list(columns["loss"]), [line["loss"] for line in lines])
        path = self.folder / "metrics.jsonl"
        path.write_text('{"step":1,"loss":null}\n{"step":2,"loss":0.5,"caption":1}\n{"step":3,"lo')
        columns = triptych.metrics(path)
        self.assertEqual(list(columns["step"]), [1, 2])
        np.testing.assert_array_equal(columns["loss"], [np.nan, 0.5])
        np.testing.assert_array_equal(columns["caption"], [np.nan, 1])
        folder = self.folder / "evaluated"
        folder.mkdir()
        (folder / "evaluations.jsonl").write_text(
            '{"step":0,"seconds":1.5,"best":true,"metrics":{"a set: loss":2.25}}\n'
            '{"step":200,"seconds":2.0,"best":false,"metrics":{"a set: loss":null,"a set: accuracy":0.5}}\n{"step":40')
        columns = triptych.evaluations(folder)
        self.assertEqual(list(columns), ["step", "seconds", "best", "a set: loss", "a set: accuracy"])
        self.assertEqual([list(columns["step"]), list(columns["best"])], [[0, 200], [1, 0]])
        np.testing.assert_array_equal(columns["a set: loss"], [2.25, np.nan])
        np.testing.assert_array_equal(columns["a set: accuracy"], [np.nan, 0.5])
        path.write_text('{"step":1}\nno line\n')
        with self.assertRaisesRegex(triptych.FormatError, "metrics.jsonl:2"):
            triptych.metrics(path)


del small_runs.SmallRuns  # not to be run itself
if __name__ == "__main__":
    OUTPUTS = str(Path(sys.argv.pop(2)).resolve())
    Package.triptych = str(Path(sys.argv.pop(1)).resolve())
    unittest.main()
