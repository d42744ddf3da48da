#!/usr/bin/python3
"""What the program says to wrong input: usage test_bad_input.py TRIPTYCH RUN_RANKS

Each case runs the real program and checks the exit code (2: the user's mistake, 1: the world's), that the message names
the place, the rule and the values, that it is told once, and that nothing that was committed is harmed.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from PIL import Image

TRIPTYCH, RUN_RANKS = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()

CONFIG = """
[run]
dir = "{root}/run"
threads = 1
timeout_s = 20
[model]
embedding = 16
[model.image]
size = 16
patch = 8
width = 16
layers = 1
heads = 2
feed_forward = 32
[model.text]
length = 12
vocabulary = 128
width = 16
layers = 1
heads = 2
feed_forward = 32
[training]
steps = 4
global_batch = 8
[data]
path = "{root}/data"
[checkpoint]
every = 2
[evaluation]
sets = ["{root}/data"]
"""


def call(*arguments, ranks=0, **options):
    command = [str(RUN_RANKS), str(ranks)] if ranks else []
    return subprocess.run(command + [str(TRIPTYCH), *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          **options)


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="triptych_bad_input_"))
        images = cls.root / "images"
        images.mkdir()
        lines = []
        for i in range(24):
            Image.new("RGB", (20 + i, 20), (10 * i, 255 - 10 * i, 128)).save(images / f"{i}.png")
            lines.append({"image": f"{i}.png", "captions": [f"picture number {i} of a colour", f"colour {i}"], "id": i})
        (cls.root / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        cls.config = cls.root / "run.toml"
        cls.config.write_text(CONFIG.format(root=cls.root))
        cls.ok("ingest", "pairs", "--images", images, "--captions", cls.root / "captions.jsonl", "--out",
               cls.root / "data", "--samples-per-shard", 16)
        cls.ok("tokenizer", "train", cls.root / "data", "--vocabulary", 96)
        cls.ok("train", cls.config)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.root)

    @classmethod
    def ok(cls, *arguments, **options):
        result = call(*arguments, **options)
        assert result.returncode == 0, f"{arguments}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def refused(self, code, parts, *arguments, **options):
        result = call(*arguments, **options)
        said = result.stdout + result.stderr
        self.assertEqual(result.returncode, code, said)
        for part in parts:
            self.assertIn(part, said)
        self.assertEqual(said.count("triptych: error:"), 1, said)
        return said

    def copy_of_data(self, name):
        target = self.root / name
        shutil.copytree(self.root / "data", target)
        return target

    # ---- the config and the mesh

    def test_all_that_is_wrong_with_a_config_is_told_at_once(self):
        config = self.root / "wrong.toml"
        config.write_text(self.config.read_text().replace("steps = 4", 'steps = "four"\nstep = 1') + "[modle]\nx = 1\n")
        start = time.monotonic()
        self.refused(2, ["wrong.toml:", "training.steps", "training.step", "modle"], "train", config)
        self.assertLess(time.monotonic() - start, 10)

    def test_no_such_config(self):
        self.refused(2, ["nowhere.toml"], "train", self.root / "nowhere.toml")

    def test_mesh_that_does_not_match_the_ranks(self):
        self.refused(2, ["1*1*4 = 4, found 2"], "train", self.config, "--set", "parallel.tp=4", "--set",
                     "model.image.heads=4", "--set", "model.text.heads=4", ranks=2)

    def test_heads_and_vocabulary_that_do_not_divide(self):
        self.refused(2, ["model.image.heads", "multiple of parallel.tp: 2 heads, tp = 3", "model.text.vocabulary"],
                     "train", self.config, "--set", "parallel.tp=3")

    def test_a_schedule_of_a_file_has_its_own_size(self):
        file = self.root / "mine.txt"
        file.write_text("E0 F0 B0\nE0 L F0 B0\n")
        self.refused(2, ["--microbatches", "must be left out where a file says it"], "plan", "schedule", "--schedule", file,
                     "--microbatches", 3)
        self.assertIn("coupled loss", self.ok("plan", "schedule", "--schedule", file).stdout)
        self.refused(2, ["mine.txt", "made for parallel.pp = 1, found 2"], "train", self.config, "--set",
                     f'parallel.schedule="{file}"')

    def test_more_stages_than_blocks(self):
        self.refused(2, ["parallel.pp", "7 stages, 6 blocks"], "train", self.config, "--set", "parallel.pp=7")

    def test_batch_larger_than_the_data_set(self):
        self.refused(2, ["32", "24"], "train", self.config, "--set", "training.global_batch=32", "--set",
                     f"run.dir={self.root}/large")

    def test_a_task_that_is_not_there_and_keys_of_another(self):
        self.refused(2, ["`task`", "contrastive, classify, caption, coca", "translate"], "train", self.config, "--set",
                     'task="translate"')
        self.refused(2, ["problems", "model.text", "model.embedding"], "train", self.config, "--set",
                     'task="classify"')

    def test_names_that_other_trainers_use(self):
        for name, key in (("optimizer.lr", "`optimizer.learning_rate`"), ("batch_size", "`training.global_batch`"),
                          ("epochs", "`training.steps`: Optimizer updates"), ("trainer.accum_freq", "`parallel.microbatches`"),
                          ("tensor_model_parallel_size", "`parallel.tp`"),
                          ("hidden_size", "`model.image.width` or `model.text.width`")):
            self.refused(2, [f"found `{name}`. Here it is {key}"], "train", self.config, "--set", f"{name}=1")

    def test_a_config_is_checked_with_its_mesh(self):
        self.refused(2, ["problems", "`parallel.zero_group` must divide parallel.dp: 3 of 4",
                         '`parallel.cuts` must name blocks of the model, found "text.blocks"'], "config", "check", self.config,
                     "--set", "parallel.dp=4", "--set", "parallel.zero=3", "--set", "parallel.zero_group=3", "--set",
                     "parallel.pp=2", "--set", 'parallel.cuts=["text.blocks"]')

    def test_a_grid_of_meshes_takes_no_mesh(self):
        self.refused(2, ["[--set parallel.tp=2]", "what --all goes through itself"], "verify", self.config, "--all", "--set",
                     "parallel.tp=2", ranks=2)

    def test_options_that_are_not_there(self):
        self.refused(2, ["`triptych train` does not take `--resum`. Did you mean `--resume`?"], "train", self.config,
                     "--resum", "latest")
        self.refused(2, ["`triptych plan schedule` does not take `more`."], "plan", "schedule", "more")
        self.refused(2, ["`triptych bench step` does not take `--stpes`. Did you mean `--steps`?"], "bench", "step", "--stpes", "4",
                     ranks=2)

    def test_options_that_lack_something(self):
        for ranks in (0, 2):
            self.refused(2, ["[arguments] of `triptych train`: config is required. `triptych train --help` says"], "train",
                         ranks=ranks)
            self.refused(2, ["[arguments] of `triptych bench step`: --steps: Value none not in range"], "bench", "step",
                         self.config, "--steps", "none", ranks=ranks)

    def test_subcommands_that_are_not_there(self):
        self.refused(2, ["found `trian`", "Did you mean `triptych train`?"], "trian", self.config)
        self.refused(2, ["`triptych bench` must be followed by", "found `stpe`", "Did you mean `triptych bench step`?"], "bench", "stpe")
        self.refused(2, ["found `finetune`", "There are: train, "], "finetune", ranks=2)
        self.refused(2, ["`triptych` must be followed by a subcommand, found none. There are: train, "])
        self.refused(2, ["`triptych bench` must be followed by a subcommand, found none. There are: step, "], "bench")

    # ---- evaluation

    def test_what_cannot_be_measured_or_searched_is_refused_once_for_all_ranks(self):
        for ranks in (0, 2):
            self.refused(2, ["evaluation.sets"], "eval", self.config, "--set", "evaluation.sets=[]", ranks=ranks)
            self.refused(2, ["nothing_here"], "eval", self.config, "--set",
                         f'evaluation.sets=["{self.root}/nothing_here"]', ranks=ranks)
            self.refused(2, ["absent.json"], "eval", self.config, "--baseline", self.root / "absent.json", ranks=ranks)
            self.refused(2, ["nothing_here"], "search", self.config, "--text", "a colour", "--data",
                         self.root / "nothing_here", ranks=ranks)
            self.refused(2, ["9"], "eval", self.config, "--checkpoint", "9", ranks=ranks)
            self.refused(2, ["another model"], "eval", self.config, "--set", "model.image.width=32", ranks=ranks)

    # ---- data sets

    def test_no_data_set(self):
        self.refused(2, ["nothing_here"], "train", self.config, "--set", f"data.path={self.root}/nothing_here",
                     "--set", f"run.dir={self.root}/other")

    def test_truncated_and_altered_and_foreign_shards(self):
        for name, damage in (("truncated", lambda data: data[: len(data) // 2]),
                             ("altered", lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:]),
                             ("foreign", lambda data: b"not HDF5 at all" * 100)):
            folder = self.copy_of_data(name)
            shard = folder / "shard_00001.h5"
            shard.write_bytes(damage(shard.read_bytes()))
            self.refused(1, ["shard_00001.h5"], "train", self.config, "--set", f"data.path={folder}", "--set",
                         f"run.dir={self.root}/x_{name}")
            for index in folder.glob("index.*"):
                index.unlink()
            result = call("index", folder)
            self.assertIn(result.returncode, (0, 1, 2), result.stderr)
            if result.returncode:
                self.assertIn("shard_00001.h5", result.stderr)

    def test_empty_folder(self):
        folder = self.root / "empty"
        folder.mkdir()
        self.refused(2, ["empty"], "index", folder)

    def test_ingest_names_every_bad_line(self):
        images = self.root / "bad_images"
        images.mkdir()
        whole = (self.root / "images" / "3.png").read_bytes()
        (images / "short.png").write_bytes(whole[:30])
        bomb = bytearray(whole)
        bomb[16:24] = (100000).to_bytes(4, "big") * 2
        (images / "bomb.png").write_bytes(bomb)
        (images / "text.png").write_text("no image")
        lines = [b'{"image": "short.png", "caption": "a"}', b'{"image": "bomb.png", "caption": "b"}',
                 b'{"image": "text.png", "caption": "c"}', b'{"image": "missing.png", "caption": "d"}',
                 b'{"image": "../images/3.png", "caption": "e"}', b'{"caption": "\xff\xfe"}', b'not json']
        (self.root / "bad.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        said = self.refused(2, ["bad.jsonl] has 7 problems", "bomb.png", "text.png", "missing.png"], "ingest", "pairs", "--images",
                            images, "--captions", self.root / "bad.jsonl", "--out", self.root / "bad_out")
        for line in range(1, 8):
            self.assertIn(f"line {line}: ", said)
        self.assertFalse((self.root / "bad_out").exists())

    def test_sample_that_cannot_be_decoded_is_replaced_and_past_the_rate_the_run_stops(self):
        images = self.root / "broken_images"
        shutil.copytree(self.root / "images", images)
        whole = (images / "5.png").read_bytes()
        (images / "5.png").write_bytes(whole[:60] + bytes(len(whole) - 60))  # sound header, broken pixels
        folder = self.root / "broken"
        self.ok("ingest", "pairs", "--images", images, "--captions", self.root / "captions.jsonl", "--out", folder)
        shutil.copy(self.root / "data" / "tokenizer.model", folder)
        common = ["train", self.config, "--set", f"data.path={folder}", "--set", f"run.dir={self.root}/broken_run"]
        result = self.ok(*common, "--set", "data.max_bad_fraction=0.5")
        self.assertIn("is replaced", result.stderr)
        self.refused(1, ["sample"], *common, "--overwrite", "--set", "data.max_bad_fraction=0.0")

    def test_tokenizer_that_is_a_folder(self):
        told = [str(self.root / "images"), "is no file that can be read"]
        self.refused(2, told, "train", self.config, "--overwrite", "--set", f"data.tokenizer={self.root}/images")
        self.refused(2, told, "tokenizer", "encode", self.root / "images", "a text")
        self.refused(2, ["is a folder", "--out"], "tokenizer", "train", self.root / "data", "--vocabulary", "60", "--out",
                     self.root / "images")

    # ---- checkpoints

    def test_checkpoint_of_another_model(self):
        self.refused(2, ["another model", "model.image.width = 16, the config says 32"], "train", self.config,
                     "--resume", "latest", "--set", "model.image.width=32")

    def test_checkpoint_that_is_damaged_or_gone(self):
        run = self.root / "damaged"
        shutil.copytree(self.root / "run", run)
        step = run / "checkpoints" / "step_00000004"
        common = ["train", self.config, "--set", f"run.dir={run}", "--set", "training.steps=6", "--allow-change",
                  "training.steps", "--resume", "latest"]
        file = next(step.glob("rank_*.safetensors"))
        data = file.read_bytes()
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        self.refused(1, [file.name], *common)
        file.unlink()
        self.refused(1, [file.name], *common)
        shutil.rmtree(step)
        self.refused(1, ["latest", "step_00000004, which is gone", "Steps there: 2"], *common)
        (run / "checkpoints" / "latest").unlink()
        self.refused(1, ["must hold the file `latest`", "Steps there: 2"], *common)

    def test_a_full_disk_while_saving_harms_nothing_that_was_committed(self):
        run = self.root / "full"
        shutil.copytree(self.root / "run", run)
        before = {p: p.read_bytes() for p in (run / "checkpoints").rglob("*") if p.is_file()}
        # A file-size limit stands for a full disk: writes fail in the middle of the tensors.
        limited = ["bash", "-c", 'ulimit -f 16; trap "" XFSZ; exec "$@"', "limited", str(TRIPTYCH)]
        result = subprocess.run(limited + ["train", str(self.config), "--set", f"run.dir={run}", "--set",
                                           "training.steps=6", "--allow-change", "training.steps", "--resume",
                                           "latest"],
                                capture_output=True, text=True, timeout=120)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("errno 27", result.stderr)  # EFBIG
        self.assertEqual({p: p.read_bytes() for p in before}, before)
        self.assertEqual((run / "checkpoints" / "latest").read_text().strip(), "step_00000004")
        self.assertEqual(list((run / "checkpoints").glob("*.tmp*")), [])
        self.ok("train", self.config, "--set", f"run.dir={run}", "--set", "training.steps=6", "--allow-change",
                "training.steps", "--resume", "latest")

    def test_a_new_run_does_not_replace_an_old_one_unasked(self):
        self.refused(2, ["--resume latest", "--overwrite"], "train", self.config)

    def test_a_rank_that_is_killed_ends_the_others(self):
        run = self.root / "killed"
        process = subprocess.Popen([str(RUN_RANKS), "2", str(TRIPTYCH), "train", str(self.config), "--set",
                                    f"run.dir={run}", "--set", "training.steps=1000000", "--set", "parallel.dp=2"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = run / "metrics.jsonl"
        for _ in range(300):
            if metrics.exists() and metrics.stat().st_size:
                break
            time.sleep(0.1)
        victims = subprocess.run(["pgrep", "-f", f"triptych train .*{run}"], capture_output=True, text=True).stdout.split()
        ranks = [pid for pid in victims if os.readlink(f"/proc/{pid}/exe") == str(TRIPTYCH)]
        self.assertEqual(len(ranks), 2)
        os.kill(int(ranks[1]), 9)
        self.assertNotEqual(process.wait(timeout=60), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
