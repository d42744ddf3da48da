"""Bits that flip in files: each trial flips one bit of one file in a fresh folder and uses it.

A flip is found (an error, or a warning that says what is done about it) or has no effect on the result. What people
write themselves (captions and pictures before ingest) carries no checksum: there a flip may change the sample that it
is in, and nothing else.
"""

import random
import shutil

import h5py

from fault_scene import LATEST, contents, differing, run_outputs

LIMIT_S = 60


def flip(path, rng):
    """Flips a bit of a file; says where."""
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return f"{path.name} byte {bit // 8} bit {bit % 8}"


def samples_of(folder):
    """A data set's samples by id: image, captions, label."""
    samples = {}
    for path in sorted(folder.glob("shard_*.h5")):
        with h5py.File(path) as shard:
            images, captions = shard["images/bytes"][()].tobytes(), shard["captions/bytes"][()].tobytes()
            image_at, caption_at = shard["images/offsets"][()], shard["captions/offsets"][()]
            first, labels = shard["captions/first"][()], shard.get("samples/labels")
            for i, number in enumerate(shard["samples/ids"][()]):
                texts = [captions[caption_at[c]:caption_at[c + 1]] for c in range(first[i], first[i + 1])]
                samples[int(number)] = (images[image_at[i]:image_at[i + 1]], texts,
                                        None if labels is None else int(labels[i]))
    return samples


class Flips:
    """Kinds of files; each with the folder that holds them, the use that reads them, and what must come of it."""

    def __init__(self, scene, table, seed):
        self.scene, self.table, self.seed = scene, table, seed
        self.started = scene.copy("started")
        scene.must(scene.train(training__steps=6, checkpoint__every=1, training__stop_after=3), self.started)
        self.train = scene.train(training__steps=3)
        self.resume = scene.train("--resume", "latest", training__steps=6, checkpoint__every=1)
        self.ingest = scene.words("ingest", "pairs", "--images", "images", "--captions", "images/captions.jsonl",
                                  "--out", "packed", "--samples-per-shard", "8")
        self.trained = self.undisturbed(scene.base, self.train, run_outputs)
        self.resumed = self.undisturbed(self.started, self.resume, run_outputs)
        self.packed = self.undisturbed(scene.base, self.ingest, lambda folder: samples_of(folder / "packed"))
        run, step = "run/", "run/checkpoints/step_00000003/"
        self.kinds = [
            ("a shard", "data/shard_*.h5", self.use_data),
            ("index.json", "data/index.json", self.use_data),
            ("index.bin", "data/index.bin", self.use_data),
            ("tokenizer.model", "data/tokenizer.model", self.use_data),
            ("manifest.json", step + "manifest.json", self.use_run),
            ("*.safetensors", step + "*.safetensors", self.use_run),
            ("tokenizer.model of a checkpoint", step + "tokenizer.model", self.use_run),
            ("latest", "run/checkpoints/latest", self.use_run),
            ("config.toml of a run", run + "config.toml", self.use_run),
            ("metrics.jsonl", run + "metrics.jsonl", self.use_run),
            ("captions.jsonl", "images/captions.jsonl", self.use_inputs),
            ("a picture", "images/*.*g", self.use_inputs),
        ]

    def undisturbed(self, start, words, outputs):
        folder = self.scene.copy("watch", start)
        self.scene.must(words, folder)
        result = outputs(folder)
        shutil.rmtree(folder)
        return result

    def trial(self, number):
        rng = random.Random(f"{self.seed} flip {number}")
        name, pattern, use = self.kinds[number % len(self.kinds)]
        row = f"a flipped bit in {name}"
        start = self.started if use == self.use_run else self.scene.base
        folder = self.scene.copy(f"flip_{number}", start)
        where = flip(rng.choice(sorted(folder.glob(pattern))), rng)
        self.table.tried(row)
        use(row, f"trial {number}, {where}", folder)
        shutil.rmtree(folder)

    def ended(self, row, what, result):
        """True if it ended well and its result is to be looked at."""
        if result.hung:
            self.table.found(row, "hung", f"{what}: {result}")
        elif result.crashed:
            self.table.found(row, "crashed", f"{what}: {result}")
        elif result.code != 0 and not result.told:
            self.table.found(row, "untold", f"{what}: {result}")
        return result.code == 0 and not result.hung

    def use_data(self, row, what, folder):
        result = self.scene.call(self.train, folder, limit_s=LIMIT_S)
        if self.ended(row, what, result):
            wrong = differing(run_outputs(folder), self.trained)
            if wrong and "warning" not in result.said:
                self.table.found(row, "silent", f"{what}: other {wrong[:4]}")

    def use_run(self, row, what, folder):
        """Goes on from step 3. The damaged file itself may keep its flip: what is made after it must be right."""
        damaged = contents(folder, "run/checkpoints/**/*")
        result = self.scene.call(self.resume, folder, limit_s=LIMIT_S)
        after = contents(folder, "run/checkpoints/**/*")
        lost = [name for name, data in damaged.items() if name != LATEST and after.get(name) != data]
        if lost:
            self.table.found(row, "lost", f"{what}: no more as they were: {lost[:4]}; {result}")
        if not self.ended(row, what, result):
            return
        found = run_outputs(folder)
        found["losses"] = {step: loss for step, loss in found["losses"].items() if step > 3}
        expected = self.resumed | {"losses": {step: self.resumed["losses"][step] for step in (4, 5, 6)}}
        wrong = [name for name in differing(found, expected) if name not in damaged or damaged[name] != found.get(name)]
        if wrong and "warning" not in result.said:
            self.table.found(row, "silent", f"{what}: other {wrong[:4]}")

    def use_inputs(self, row, what, folder):
        result = self.scene.call(self.ingest, folder, limit_s=LIMIT_S)
        if not self.ended(row, what, result):
            return
        wrong = differing(samples_of(folder / "packed"), self.packed)
        if len(wrong) > 1:
            self.table.found(row, "silent", f"{what}: changed the samples {wrong[:4]}")
        check = self.scene.call(self.scene.words("inspect", "packed", "--verify"), folder, limit_s=LIMIT_S)
        if check.code != 0:
            self.table.found(row, "silent", f"{what}: ingest ends well, inspect says {check}")
