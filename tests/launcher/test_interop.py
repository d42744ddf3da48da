#!/usr/bin/python3
"""A run's model exported as another library's, imported back, and used: evaluated, searched, embedded and trained, on one rank and
on meshes. That the libraries read what is written is tests/interop's to show.

usage: test_interop.py TRIPTYCH   the program to test
"""

import json
import re
import struct
import sys
import unittest
from pathlib import Path

import numpy as np

sys.dont_write_bytecode = True
import small_runs  # noqa: E402  (found beside this file)
from small_runs import SmallRuns, losses  # noqa: E402

# OpenAI's CLIP, small.
CLIP = """
include = "run.toml"

[model.image]
activation = "gelu_quick"
patch_bias = false
input_norm = true
pooling = "class"

[model.text]
activation = "gelu_quick"
attention = "causal"

[data]
filter = "cubic"
"""
VIT = """
include = "own_base.toml"
task = "classify"

[model]
classes = 5
"""
GPT2 = """
include = "own_base.toml"
task = "language"

[model]
tied_output = true

[model.connector]
kind = "none"

[model.text]
activation = "gelu_tanh"
"""


def tensors_of(path):
    """The float32 tensors of a safetensors file, by name."""
    data = path.read_bytes()
    begin = 8 + struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:begin]).items():
        if name != "__metadata__":
            assert entry["dtype"] == "F32", name
            first, end = (begin + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[first:end], "<f4").reshape(entry["shape"])
    return tensors


class Interop(SmallRuns):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "clip.toml").write_text(CLIP)
        cls.trained = cls.folder / "clip_run"
        cls.train(cls.trained, config="clip")
        cls.models = {}
        for library in ("hf", "open_clip"):
            theirs, ours = cls.folder / f"{library}_files", cls.folder / f"{library}_model"
            cls.output("export", library, cls.trained, "--out", theirs)
            told = cls.output("import", library, theirs, "--out", ours)
            assert re.search(rf"(?m)^CLIP of \d+ parameters: {ours}/step_00000000\nits config: {ours}/config.toml$", told), told
            cls.models[library] = ours

    def of_run(self, command, *words, **options):
        return self.output(command, self.folder / "clip.toml", "--set", f'run.dir="{self.trained}"', *words, **options)

    def of_import(self, command, library, *words, **options):
        model = self.models[library]
        return self.output(command, model / "config.toml", "--checkpoint", model, *self.used(library), *words, **options)

    def used(self, name):
        """Keys that an imported config has by default: the run's folder, and the batch of which a loss is."""
        return ["--set", f'run.dir="{self.folder / name}_used"', "--set", "training.global_batch=8"]

    def test_the_files_are_what_the_libraries_call_them(self):
        config = json.loads((self.folder / "hf_files/config.json").read_text("utf-8"))
        self.assertEqual((config["architectures"], config["projection_dim"]), (["CLIPModel"], 12))
        self.assertEqual(config["vision_config"]["hidden_act"], "quick_gelu")
        self.assertEqual((config["text_config"]["hidden_size"], config["text_config"]["max_position_embeddings"]), (20, 9))
        config = json.loads((self.folder / "open_clip_files/open_clip_config.json").read_text("utf-8"))["model_cfg"]
        self.assertEqual((config["embed_dim"], config["quick_gelu"], config["vision_cfg"]["image_size"]), (12, True, 16))
        theirs = tensors_of(self.folder / "hf_files/model.safetensors")
        others = tensors_of(self.folder / "open_clip_files/open_clip_model.safetensors")
        ours = tensors_of(self.trained / "checkpoints/step_00000006/rank_00000.safetensors")
        self.assertEqual(theirs["vision_model.embeddings.patch_embedding.weight"].shape, (24, 3, 4, 4))
        np.testing.assert_array_equal(theirs["visual_projection.weight"], ours["image.head.projection.weight"])
        np.testing.assert_array_equal(others["visual.proj"].T, ours["image.head.projection.weight"])
        q, k, v = ours["text.blocks.1.attention.qkv.weight"]
        np.testing.assert_array_equal(theirs["text_model.encoder.layers.1.self_attn.k_proj.weight"], k)
        np.testing.assert_array_equal(others["transformer.resblocks.1.attn.in_proj_weight"], np.concatenate([q, k, v]))
        self.assertEqual(theirs["logit_scale"].size, 1)

    def test_it_measures_and_finds_what_the_run_does(self):
        sets = ["--set", f'evaluation.sets=["{self.data}"]', "--json"]
        query = ["--text", "a red disc", "--data", self.data]
        numbers, found = json.loads(self.of_run("eval", *sets)), self.of_run("search", *query).splitlines()
        self.assertIn("data: image to text recall@5", numbers)
        rows = {}
        for what in ("--images", "--texts"):
            self.of_run("embed", "--data", self.data, what, "--out", self.folder / "rows.npy")
            rows[what] = np.load(self.folder / "rows.npy")
        for library in self.models:
            with self.subTest(library):
                self.assertEqual(json.loads(self.of_import("eval", library, *sets)), numbers)
                self.assertEqual(self.of_import("search", library, *query).splitlines()[1:], found[1:])
                for what, expected in rows.items():
                    self.of_import("embed", library, "--data", self.data, what, "--out", self.folder / "rows.npy")
                    np.testing.assert_array_equal(np.load(self.folder / "rows.npy"), expected)
        mesh = ["--set", "parallel.tp=2", "--set", "parallel.pp=2"]
        again = json.loads(self.of_import("eval", "hf", *sets, *mesh, ranks=4))
        self.assertAlmostEqual(again["data: loss"], numbers["data: loss"], delta=1e-4)

    def test_training_begins_with_it_on_any_mesh(self):
        began = ["--init-from", self.trained]
        self.program(*self.arguments(self.folder / "from_run", config="clip"), *began)
        expected = losses(self.folder / "from_run")
        for library, model in self.models.items():
            run = self.folder / f"from_{library}"
            self.program(*self.arguments(run, config="clip"), "--init-from", model)
            self.assertEqual(losses(run), expected)  # bit by bit
        # Its own config begins with it, and says so. Sizes of the test, and no chance, for the meshes to agree.
        small = {"training__steps": 3, "training__global_batch": 8, "optimizer__warmup_steps": 1, "run__threads": 1,
                 "data__path": f'"{self.data}"'}
        model = self.models["hf"]
        told, by_mesh = "", {}
        for name, mesh in (("one", {}), ("four", {"tp": 2, "pp": 2, "microbatches": 2}), ("two", {"dp": 2})):
            run = self.folder / f"config_on_{name}"
            words = self.arguments(run, mesh=mesh, **small)
            words[1] = model / "config.toml"
            ranks = int(np.prod([size for axis, size in mesh.items() if axis != "microbatches"] or [1]))
            result = self.run_program(*words, ranks=ranks)
            told = result.stdout + result.stderr
            self.assertIn(f"begins with weights of {model}/step_00000000 (step 0)", told)
            self.assertRegex(told, r"taken \d+: ")
            self.assertNotRegex(told, r"\n  (new|left) \d")
            by_mesh[name] = [float(loss) for loss in losses(run).values()]
            self.assertEqual(len(by_mesh[name]), 3)
        for name in ("four", "two"):
            np.testing.assert_allclose(by_mesh[name], by_mesh["one"], rtol=1e-5)

    def test_other_families_measure_the_same(self):
        text = re.sub(r"\[data\.augment\][^[]*", "", small_runs.CONFIG).replace("embedding = 12\n", "")
        without_text, without_image = (re.sub(rf"\[model\.{part}\].*?\n\n", "", text, flags=re.S) for part in ("text", "image"))
        for family, own, base in (("ViT", VIT, without_text), ("GPT-2", GPT2, without_image)):
            with self.subTest(family):
                (self.folder / "own.toml").write_text(own)
                (self.folder / "own_base.toml").write_text(base)
                run, theirs, ours = (self.folder / f"{family}_{part}" for part in ("run", "theirs", "ours"))
                sets = ["--set", f'evaluation.sets=["{self.data}"]', "--json"]
                self.program(*self.arguments(run, config="own", training__steps=3))
                numbers = self.output("eval", self.folder / "own.toml", "--set", f'run.dir="{run}"', *sets)
                self.output("export", "hf", run, "--out", theirs)
                self.assertIn(f"{family} of ", self.output("import", "hf", theirs, "--out", ours))
                self.assertEqual(self.output("eval", ours / "config.toml", "--checkpoint", ours,
                                             *self.used(family), *sets), numbers)

    def test_what_cannot_be_done_is_said(self):
        theirs, ours = self.folder / "hf_files", self.models["hf"]
        self.assertIn("must be a new or an empty folder", self.program("import", "hf", theirs, "--out", ours, expect=2))
        self.assertIn("must be a new or an empty folder", self.program("export", "hf", self.trained, "--out", theirs, expect=2))
        error = self.program("export", "hf", self.base, "--out", self.folder / "no", expect=2)
        for key in ("model.image.patch_bias must be false, found true", "model.image.input_norm must be true, found false"):
            self.assertIn(key, error)
        pickle = self.folder / "pytorch_model.bin"
        pickle.write_bytes(b"\x80\x04.")
        self.assertIn("safetensors", self.program("import", "hf", pickle, "--out", self.folder / "no", expect=2))
        self.assertFalse((self.folder / "no").exists())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    SmallRuns.triptych = Path(sys.argv.pop(1)).resolve()
    unittest.main()
