"""Small training runs, for the tests of the program: a data set of drawn pictures, and the program on ranks that are
processes.

usage: small_runs.py TRIPTYCH FOLDER      makes run.toml, a config a task, data and scenes in a new folder
"""

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

REPOSITORY = Path(__file__).parents[2]
RUN_RANKS = REPOSITORY / "launcher" / "run-ranks"

CONFIG = """
[run]
seed = 3
threads = 1
timeout_s = 60

[parallel]
microbatches = 2

[model]
embedding = 12
dropout = 0.1

[model.image]
size = 16
patch = 4
width = 24
layers = 2
heads = 2
feed_forward = 36

[model.text]
length = 9
vocabulary = 80
width = 20
layers = 2
heads = 2
feed_forward = 30

[training]
steps = 6
global_batch = 8

[optimizer]
learning_rate = 2e-3
warmup_steps = 2

[data.augment]
min_scale = 0.5
flip_probability = 0.5

[checkpoint]
every = 3
keep = 0
"""

# The other tasks, smaller still: each runs on many meshes and, emulated, takes long.
SMALL_HEAD = """
[run]
seed = 3
threads = 1
timeout_s = 60

[parallel]
microbatches = 2

[training]
steps = 2
global_batch = 4

[checkpoint]
every = 0

[model]
dropout = 0.1
"""
SMALL_IMAGE = """
[model.image]
size = 8
patch = 4
width = 8
layers = 2
heads = 2
feed_forward = 12
"""
SMALL_TEXT = """
[model.text]
length = 5
vocabulary = 80
width = 8
layers = 2
heads = 2
feed_forward = 10
"""
SMALL_DECODER = """
[model.decoder]
width = 6
layers = 1
heads = 2
feed_forward = 10
"""
SMALL_CONNECTOR = """
[model.connector]
kind = "gated_cross_attention"
resample = true
queries = 3
layers = 1
gate = 0.5
"""
SMALL_FUSION = """
[model.fusion]
kind = "cross_attention"
width = 8
layers = 1
heads = 2
feed_forward = 10
"""
WITH_MASK_TOKEN = SMALL_TEXT.replace("vocabulary = 80", "vocabulary = 82")
TASKS = {"classify": SMALL_HEAD + "classes = 5\n" + SMALL_IMAGE,
         "caption": SMALL_HEAD + SMALL_IMAGE + SMALL_TEXT,
         "coca": SMALL_HEAD + "embedding = 6\npool_queries = 3\nmultimodal_layers = 1\n" + SMALL_IMAGE + SMALL_TEXT,
         "masked_image": SMALL_HEAD + SMALL_IMAGE + SMALL_DECODER,
         "language": SMALL_HEAD + SMALL_IMAGE + SMALL_TEXT + SMALL_CONNECTOR,
         "masked_text": SMALL_HEAD + WITH_MASK_TOKEN,
         "answer": SMALL_HEAD + "answers = 4\n" + SMALL_IMAGE + SMALL_TEXT
                   + SMALL_FUSION.replace("cross_attention", "gated")
                   + '\n[model.connector]\nkind = "resampler"\nqueries = 3\nlayers = 1\n',
         # Groups of two rows in each of two microbatches on each of two ranks.
         "align": SMALL_HEAD.replace("global_batch = 4", "global_batch = 8") + "embedding = 6\n" + SMALL_IMAGE
                  + WITH_MASK_TOKEN + SMALL_FUSION + "\n[objective]\nmatching_group = 2\nmasked_share = 0.4\n",
         "detect": SMALL_HEAD + "classes = 4\nqueries = 3\n" + SMALL_IMAGE + SMALL_DECODER,
         "ground": SMALL_HEAD + SMALL_IMAGE + SMALL_TEXT}
SCENE_TASKS = ("answer", "align", "detect", "ground")  # their data are scenes
COLORS, SHAPES = ("red", "green", "blue", "white"), ("square", "disc", "cross")


def add_shape(pen, shape, color, box):
    """In the pixels of a box of left, top, right, bottom, all included."""
    left, top, right, bottom = box
    if shape == "square":
        pen.rectangle(box, fill=color)
    elif shape == "disc":
        pen.ellipse(box, fill=color)
    else:
        pen.line(box, fill=color, width=3)
        pen.line((left, bottom, right, top), fill=color, width=3)


def bytes_of(image, number):
    """Of a PNG or JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if number % 2 else "JPEG")
    return buffer.getvalue()


def draw(number):
    """A picture as the bytes of a file, and two captions."""
    rng = np.random.default_rng(number)
    color, shape = COLORS[number % 4], SHAPES[number % 3]
    image = Image.fromarray(rng.integers(0, 80, (18 + number % 5, 21, 3), np.uint8))
    add_shape(ImageDraw.Draw(image), shape, color, (5, 4, 14, 13))
    return bytes_of(image, number), [f"a {color} {shape}", f"picture {number} of a {shape}"]


def draw_scene(number):
    """A picture as the bytes of a file, and what its line says of it: a caption, a question with its answer and label,
    and the boxes of one or two shapes; labels and classes are colors. Some lack the picture, the caption, the question
    or the boxes."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(0, 80, (20 + number % 3, 26, 3), np.uint8))
    pen = ImageDraw.Draw(image)
    line = {"boxes": [], "classes": [], "phrases": []}
    for place in range(1 + number % 2):
        shape, color = (number + place) % 3, (number // 3 + place) % 4
        left, top, side = 13 * place + int(rng.integers(4)), int(rng.integers(8)), 7 + int(rng.integers(3))
        add_shape(pen, SHAPES[shape], COLORS[color], (left, top, left + side, top + side))
        line["boxes"].append([left, top, left + side + 1, top + side + 1])
        line["classes"].append(color)
        line["phrases"].append(f"the {COLORS[color]} {SHAPES[shape]}")
    label = line["classes"][0]
    line |= {"captions": [f"scene {number} with " + " and ".join(line["phrases"])], "label": label,
             "question": f"what color is the {SHAPES[number % 3]}", "answers": [COLORS[label]]}
    lacks = ((), ("boxes", "classes", "phrases"), ("question", "answers"), ("captions",),
             ("image", "boxes", "classes", "phrases"))[number % 5]
    return (None if "image" in lacks else bytes_of(image, number),
            {key: value for key, value in line.items() if key not in lacks})


def losses(run):
    """Loss by step, as the text that was written: equal text is equal bits."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {json.loads(line)["step"]: re.search(r'"loss":([^,]+)', line)[1] for line in lines}


def ranks_of(launcher):
    """The processes of this machine that run-ranks or mpirun started, by rank."""
    parents, ranks = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            for variable in (folder / "environ").read_bytes().split(b"\0"):
                if variable.startswith(b"OMPI_COMM_WORLD_RANK="):
                    ranks[int(folder.name)] = int(variable.split(b"=")[1])
        except (OSError, IndexError):  # it has ended meanwhile
            continue

    def descends(process):
        while process in parents and process != launcher:
            process = parents[process]
        return process == launcher
    return {rank: process for process, rank in ranks.items() if descends(process)}


def leftovers():
    """Folders of run-ranks that no living one holds. One of a test beside this one is locked a moment after it is made:
    only what is so for a second is left."""
    found = unlocked_folders()
    if found:
        time.sleep(1)
        found &= unlocked_folders()
    return found


def unlocked_folders():
    found = set()
    for path in [path for base in ("/dev/shm", "/tmp") for path in Path(base).glob("triptych-ranks.*")]:
        try:
            with open(path / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                found.add(path)
        except OSError:  # held, or just made or removed by another test's
            continue
    return found


def make_data(folder, program):
    """run.toml, a config a task, and a data set with labels and a tokenizer in data; `program` calls Triptych."""
    (folder / "run.toml").write_text(CONFIG)
    for task, text in TASKS.items():
        (folder / f"{task}.toml").write_text(f'task = "{task}"\n{text}')
    images = folder / "images"
    images.mkdir()
    with open(images / "captions.jsonl", "w", encoding="utf-8") as lines:
        for number in range(22):
            data, captions = draw(number)
            name = f"{number}.{'png' if number % 2 else 'jpg'}"
            (images / name).write_bytes(data)
            lines.write(json.dumps({"image": name, "captions": captions, "label": number % 5}) + "\n")
    program("ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out", folder / "data",
            "--samples-per-shard", "8")
    program("tokenizer", "train", folder / "data", "--vocabulary", "80", "--character-coverage", "1")


def make_scenes(folder, program):
    """A data set with questions and boxes, and a tokenizer, in scenes."""
    images = folder / "scene-images"
    images.mkdir()
    with open(images / "captions.jsonl", "w", encoding="utf-8") as lines:
        for number in range(22):
            picture, line = draw_scene(number)
            if picture is not None:
                line["image"] = f"{number}.image"
                (images / line["image"]).write_bytes(picture)
            lines.write(json.dumps(line) + "\n")
    (images / "classes.txt").write_text("\n".join(COLORS) + "\n")
    program("ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--classes",
            images / "classes.txt", "--out", folder / "scenes")
    program("tokenizer", "train", folder / "scenes", "--vocabulary", "80", "--character-coverage", "1")


class SmallRuns(unittest.TestCase):
    """A data set in a folder of its own, and calls of the program. `triptych` is set by the test's main."""

    triptych = None

    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="triptych_training_")
        cls.folder = Path(cls.scratch.name)
        make_data(cls.folder, cls.program)
        cls.data = cls.folder / "data"
        cls.base = cls.folder / "base"
        cls.train(cls.base)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    @classmethod
    def command(cls, *arguments, ranks=1, program=None):
        return [str(word) for word in ([RUN_RANKS, ranks] if ranks > 1 else []) + [program or cls.triptych, *arguments]]

    @classmethod
    def run_program(cls, *arguments, ranks=1, expect=0, program=None, environment=None):
        result = subprocess.run(cls.command(*arguments, ranks=ranks, program=program), capture_output=True, text=True,
                                timeout=600, check=False, env=os.environ | (environment or {}))
        if result.returncode != expect:
            raise AssertionError(f"exit code {result.returncode} of {arguments} on {ranks} ranks:\n"
                                 f"{result.stdout}{result.stderr}")
        return result

    @classmethod
    def program(cls, *arguments, **options):
        """What it says of warnings and errors."""
        return cls.run_program(*arguments, **options).stderr

    @classmethod
    def output(cls, *arguments, **options):
        return cls.run_program(*arguments, **options).stdout

    @classmethod
    def data_of(cls, config):
        """What a task learns; that of scenes is there where a test has called make_scenes."""
        return cls.folder / "scenes" if config in SCENE_TASKS else cls.data

    @classmethod
    def arguments(cls, run, *, config="run", data=None, mesh=None, resume=None, **keys):
        words = ["train", cls.folder / f"{config}.toml"]
        settings = {"run.dir": f'"{run}"', "data.path": f'"{data or cls.data_of(config)}"'}
        settings |= {f"parallel.{axis}": size for axis, size in (mesh or {}).items()}
        settings |= {key.replace("__", "."): value for key, value in keys.items()}
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        return words + (["--resume", resume] if resume else [])

    @classmethod
    def train(cls, run, *, mesh=None, expect=0, program=None, environment=None, **options):
        ranks = int(np.prod(list((mesh or {}).values()) or [1]))
        return cls.program(*cls.arguments(run, mesh=mesh, **options), ranks=ranks, expect=expect, program=program,
                           environment=environment)

    def copy_of_base(self, name):
        run = self.folder / name
        shutil.copytree(self.base, run)
        return run


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    target = Path(sys.argv[2])
    target.mkdir(parents=True)
    for make in (make_data, make_scenes):
        make(target, lambda *words: subprocess.run([sys.argv[1], *map(str, words)], check=True))
