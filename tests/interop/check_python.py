"""The models of the Python package against the program: tiny models of every task and kind of block, trained for a few steps on
different meshes, must give the same slots from the same pictures and texts, and make the same inputs of them.

usage: check_python.py TRIPTYCH INTEROP_OUTPUTS [RUN DATA_SET]...

With runs and data sets: these trained runs instead. Prints a line a comparison; exit code 1 if one is further than 1e-5.
"""
import contextlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "launcher")]
import small_runs  # noqa: E402
import triptych  # noqa: E402

BOUND = 1e-5  # of the largest difference over the largest magnitude: kBetweenLibraries of tests/support/tolerance.h
IMAGE, TEXT = ["pixels"], ["tokens", "lengths"]
PRESENT = ["image_present", "text_present"]
# Of each task the items, the fields that its model reads, and the slots that are compared.
MEASURED = {
    "contrastive": [("samples", IMAGE, ["image_embedding"]), ("texts", TEXT, ["text_embedding"])],
    "classify": [("samples", IMAGE, ["logits"])],
    "caption": [("texts", IMAGE + TEXT, ["memory", "logits"])],
    "coca": [("texts", IMAGE + TEXT, ["image_embedding", "text_embedding", "logits"])],
    "masked_image": [("samples", IMAGE + ["visible_patches"], ["reconstruction"])],
    "masked_text": [("texts", TEXT + ["masked_positions"], ["logits"])],
    "answer": [("samples", IMAGE + TEXT + PRESENT, ["logits"])],
    "align": [("samples", IMAGE + TEXT + PRESENT + ["masked_positions"],
               ["image_embedding", "text_embedding", "matching_scores", "logits"])],
    "detect": [("samples", IMAGE, ["class_logits", "boxes"])],
    "ground": [("texts", IMAGE + TEXT, ["box"])],
    "language": [("texts", IMAGE + TEXT, ["logits"])],
}
ROLES = {"answer": "questions", "ground": "phrases"}
TYPES = {"pixels": np.uint8, "image_present": np.uint8, "text_present": np.uint8}
TP, PP, DP, TP_PP = {"tp": 2}, {"pp": 2}, {"dp": 2}, {"tp": 2, "pp": 2}
LLAMA = {"norm": "rms", "activation": "swiglu", "positions": "rotary", "kv_heads": 2, "heads": 4, "width": 24}
BERT = {"norm_position": "post", "input_norm": True, "norm_epsilon": 1e-3}


def of(section, keys):
    return {f"model.{section}.{key}": value for key, value in keys.items()}


NO_PICTURES = {"model.connector.kind": "none"}
# Name, task, mesh, and what differs from the small run's config.
RUNS = [
    ("two towers", "contrastive", {}, {}),
    ("two towers", "contrastive", TP_PP, {}),
    ("two towers", "contrastive", DP, {"model.image.pooling": "mean", "model.text.attention": "bidirectional"}),
    ("siglip", "contrastive", TP, of("image", {"pooling": "attention", "activation": "gelu_tanh"})
     | {"objective.kind": "sigmoid", "optimizer.ema_decay": 0.5, "evaluation.weights": "ema"}),
    ("clip", "contrastive", PP, of("image", {"input_norm": True, "activation": "gelu_quick"})
     | of("text", {"activation": "gelu_quick"})),
    ("llama and waves", "contrastive", TP, of("text", LLAMA) | of("image", {"positions": "sinusoidal"})),
    ("post-norm", "contrastive", TP, of("text", BERT) | of("image", BERT | {"positions": "none"})),
    ("rotary patches", "classify", DP, of("image", {"positions": "rotary", "kv_heads": 1})),
    ("class token", "classify", TP, {}),
    ("attention pool", "classify", PP, of("image", {"pooling": "attention", "norm": "rms", "activation": "swiglu"})),
    ("captioner", "caption", TP_PP, {"model.image.class_token": True}),
    ("captioner", "caption", {}, of("text", BERT)),
    ("coca", "coca", TP_PP, {}),
    ("coca", "coca", DP, of("image", BERT) | of("text", LLAMA | {"kv_heads": 0})),
    ("masked text", "masked_text", TP_PP, {}),
    ("masked text", "masked_text", {}, of("text", BERT) | {"model.tied_output": False, "model.transform_output": False}),
    ("masked image", "masked_image", TP, {}),
    ("masked image", "masked_image", PP, of("image", {"positions": "sinusoidal", "pooling": "mean"})
     | of("decoder", {"width": 8, "positions": "sinusoidal"})),
    ("language alone", "language", TP_PP, NO_PICTURES),
    ("llama", "language", TP, NO_PICTURES | of("text", LLAMA) | {"model.tied_output": False}),
    ("gates, resampled", "language", TP_PP, {}),
    ("gates", "language", DP, {"model.connector.resample": False, "model.connector.every": 2}),
    ("linear prefix", "language", PP, {"model.connector.kind": "linear"}),
    ("mlp prefix, rotary", "language", TP, {"model.connector.kind": "mlp"} | of("text", LLAMA)),
    ("resampled prefix", "language", {}, {"model.connector.kind": "resampler"} | of("text", BERT)),
    ("gated fusion", "answer", TP, {}),
    ("concatenation", "answer", PP, of("fusion", {"kind": "concatenation", "positions": "rotary"})
     | {"model.connector.kind": "none"}),
    ("cross-attention", "answer", DP, of("fusion", {"kind": "cross_attention", "width": 12}) | {"model.connector.kind": "mlp"}),
    ("aligner", "align", TP, of("fusion", {"attention": "text_to_image"})),
    ("aligner", "align", PP, {}),
    ("detector", "detect", TP, {}),
    ("detector of patches", "detect", DP, {"model.query_kind": "patches", "model.queries": 4}),
    ("grounder", "ground", TP_PP, {}),
    ("adapters", "classify", TP, {}),
    ("no biases", "contrastive", TP_PP,
     of("image", {"biases": False, "patch_bias": False, "pixel_mean": [0.5, 0.4, 0.3], "pixel_std": [0.5, 0.6, 0.7]})
     | of("text", {"biases": False, "projection": "biased", "padding": "read", "attention": "bidirectional"})
     | {"data.filter": "cubic", "data.fit": "stretch"}),
    ("no projection", "contrastive", PP, of("image", {"projection": "none", "pooling": "attention", "biases": False})
     | {"model.embedding": 24, "data.filter": "cubic"}),
    ("segments", "masked_text", TP, {"model.text.segments": 2}),
    ("no biases", "language", TP, of("text", LLAMA | {"biases": False}) | {"model.connector.resample": False}),
    ("no biases", "answer", PP, of("fusion", {"kind": "cross_attention", "biases": False}) | {"data.fit": "stretch"}),
]
ADAPTERS = """
[[adapters]]
match = ["*.attention.*.weight", "image.embed.patch.weight"]
rank = 3
alpha = 6.0

[[optimizer.groups]]
pattern = "*.blocks.0.feed_forward.*"
frozen = true
"""


def settings(values):
    texts = {True: "true", False: "false"}
    return [word for key, value in values.items()
            for word in ("--set", f"{key}={texts[value] if isinstance(value, bool) else repr(value).replace(chr(39), chr(34))}")]


def triptych_calls(program):
    def call(*arguments, ranks=1):
        words = ([small_runs.RUN_RANKS, ranks] if ranks > 1 else []) + [program, *arguments]
        result = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, words))}\n{result.stdout}{result.stderr}")
    return call


def train(call, folder, number, row):
    """A run of a row of RUNS; its folder and its data set."""
    name, task, mesh, values = row
    text = small_runs.CONFIG if task == "contrastive" else f'task = "{task}"\n' + small_runs.TASKS[task]
    config, run = folder / f"{number}.toml", folder / f"run_{number}"
    config.write_text(text + (ADAPTERS if name == "adapters" else ""))
    data = folder / ("scenes" if task in small_runs.SCENE_TASKS else "data")
    # Large steps, so that biases, norms and gates are not what they began with.
    common = {"run.dir": str(run), "data.path": str(data), "optimizer.learning_rate": 0.03, "optimizer.warmup_steps": 0,
              "training.steps": 4, "checkpoint.every": 0, "model.dropout": 0.0}
    ranks = 1
    for axis, size in mesh.items():
        common[f"parallel.{axis}"] = size
        ranks *= size
    call("train", config, *settings(common | values), ranks=ranks)
    return run, data


def outputs(program, run, data, items, folder, fields, slots):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    result = subprocess.run([program, run / "config.toml", "latest", data, items, folder, *fields, "--slots", *slots],
                            capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{run}, {items}: {result.stdout}{result.stderr}")
    return {name: np.fromfile(folder / f"{name}.bin", np.uint8) for name in fields + slots}


def typed(name, raw, rows, config):
    values = raw.view(TYPES.get(name, np.int32))
    size = config["model"].get("image", {}).get("size")
    shape = (size, size, 3) if name == "pixels" else () if name in ("lengths", *PRESENT) else (-1,)
    return values.reshape(rows, *shape)


def compare_inputs(model, task, items, fields, data, is_training_text):
    """What the package makes of the data set itself: the number of pictures and of texts that differ from the program's."""
    shards, lines = triptych.Shards(data), {}
    role = ROLES.get(task, "captions")
    samples = [shards[number] for number in range(len(shards))]
    rows = [(sample, text) for sample in samples
            for text in (sample[role] if items == "texts" else (sample[role] or [None])[:1])]
    if "pixels" in fields:
        made = [np.zeros_like(fields["pixels"][0]) if sample["image"] is None else None for sample, _ in rows]
        cache = {}
        for row, (sample, _) in enumerate(rows):
            if made[row] is None:
                if sample["id"] not in cache:
                    cache[sample["id"]] = model.pictures.one(sample["image"])
                made[row] = cache[sample["id"]]
        lines["pictures that differ"] = sum(not np.array_equal(a, b) for a, b in zip(made, fields["pixels"], strict=True))
    if "tokens" in fields and is_training_text:
        tokens, lengths = model.tokenizer([text or "" for _, text in rows], fields["tokens"].shape[1])
        differ = (tokens != fields["tokens"]).any(1) | (lengths != fields["lengths"])
        lines["texts that differ"] = int(sum(differ))
    return lines


def compare(label, outputs_program, run, data, folder):
    """Prints a line a slot; returns how many are too far."""
    too_far, model = 0, triptych.load(run)
    task = model.config["task"]
    for items, names, slots in MEASURED[task]:
        if task == "language" and not model.has_pictures:
            names = TEXT
        if task == "align" and not hasattr(model.text, "output"):
            names, slots = names[:-1], slots[:-1]
        raw = outputs(outputs_program, run, data, items, folder, names, slots)
        if "lengths" in raw:
            rows = len(raw["lengths"]) // 4
        else:
            rows = len(raw["pixels"]) // (3 * model.config["model"]["image"]["size"] ** 2)
        fields = {name: typed(name, raw[name], rows, model.config) for name in names}
        with torch.no_grad():
            made = model(**{name: torch.from_numpy(np.array(values)) for name, values in fields.items()})
        answers = model.config.get("objective", {}).get("target") == "answer"
        is_masked = task == "masked_text" or (task == "align" and "masked_positions" in fields)
        lines = compare_inputs(model, task, items, fields, data, not is_masked and not answers)
        for slot in slots:
            ours, theirs = made[slot].numpy(), raw[slot].view(np.float32).reshape(made[slot].shape)
            if slot == "logits" and "masked_positions" in fields:
                chosen = fields["masked_positions"] >= 0
                ours, theirs = ours[chosen], theirs[chosen]
            elif slot == "logits" and "lengths" in fields and task != "answer":
                chosen = np.arange(ours.shape[1]) < fields["lengths"][:, None]
                ours, theirs = ours[chosen], theirs[chosen]
            lines[slot] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        for what, error in lines.items():
            is_bad = not error <= BOUND
            too_far += is_bad
            print(f"{label:46} {what:22} {rows:6} rows  {error:.1e}{'  TOO FAR' if is_bad else ''}", flush=True)
    return too_far


def compare_page(run, outputs_program, data, folder):
    """The same by the block of docs/models.md, which has towers of the default kind in 40 lines; returns how many are too far."""
    page = {}
    exec(re.search(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.S)[1], page)  # noqa: S102
    checkpoint, too_far = triptych.Checkpoint(run), 0
    tensors = {name: torch.from_numpy(checkpoint.parameter(name)) for name in checkpoint.names()}
    image, text = checkpoint.config["model"]["image"], checkpoint.config["model"]["text"]
    raw = outputs(outputs_program, run, data, "samples", folder, IMAGE + TEXT, ["image_embedding", "text_embedding"])
    rows = len(raw["lengths"]) // 4
    fields = {name: torch.from_numpy(typed(name, raw[name], rows, checkpoint.config)) for name in IMAGE + TEXT}
    made = {"image_embedding": page["image_embedding"](tensors, fields["pixels"], image["patch"], image["layers"], image["heads"]),
            "text_embedding": page["text_embedding"](tensors, fields["tokens"], fields["lengths"], text["layers"], text["heads"])}
    for slot, ours in made.items():
        theirs = raw[slot].view(np.float32).reshape(ours.shape)
        error = float(np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max())
        too_far += not error <= BOUND
        print(f"{'the lines of docs/models.md':46} {slot:22} {rows:6} rows  {error:.1e}")
    return too_far


def run_readme(folder, run, data):
    """The Python block of python/README.md, where its run, its data set and its picture are these."""
    place = folder / "readme"
    for name, target in (("runs/quickstart", run), ("data/mine", data), ("apple.png", folder / "images" / "1.png")):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(target)
    block = re.search(r"```python\n(.*?)```", (ROOT / "python" / "README.md").read_text(encoding="utf-8"), re.S)[1]
    with contextlib.chdir(place), contextlib.redirect_stdout(io.StringIO()) as said:
        exec(block + "\nbatch = next(iter(loader))\n", values := {})  # noqa: S102  (the page's own lines)
    assert values["batch"]["pixels"].shape[0] == len(values["batch"]["lengths"]) > 1 and "tensor" in said.getvalue()


def main(program, outputs_program, *given):
    torch.set_num_threads(2)
    too_far = 0
    with tempfile.TemporaryDirectory(prefix="triptych_python_") as scratch:
        folder = Path(scratch)
        if given:
            for run, data in zip(given[::2], given[1::2], strict=True):
                too_far += compare(run, outputs_program, Path(run), Path(data), folder / "outputs")
        else:
            call = triptych_calls(program)
            small_runs.make_data(folder, call)
            small_runs.make_scenes(folder, call)
            for number, row in enumerate(RUNS):
                run, data = train(call, folder, number, row)
                mesh = " ".join(f"{axis}{size}" for axis, size in row[2].items()) or "one rank"
                too_far += compare(f"{row[1]}: {row[0]} ({mesh})", outputs_program, run, data, folder / "outputs")
            too_far += compare_page(folder / "run_1", outputs_program, folder / "data", folder / "outputs")
            run_readme(folder, folder / "run_0", folder / "data")
    print(f"{too_far} too far (more than {BOUND:g})")
    return too_far > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
