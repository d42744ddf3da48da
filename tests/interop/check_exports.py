#!/usr/bin/env python3
"""What `triptych export` writes, loaded by the library that it is for: the same tensors bit by bit, and the same answers. And what
`triptych import` has made, loaded by the Python package: answers within 1e-5.

usage: check_exports.py FOLDER TRIPTYCH   FOLDER is make_reference.py's
"""
import pathlib
import subprocess
import sys

import open_clip
import torch
import transformers
from safetensors.torch import load_file

import make_reference as made

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python"))
import triptych as package  # noqa: E402
from triptych.errors import UnsupportedError  # noqa: E402

MODELS = {"clip": transformers.CLIPModel, "clip_laion": transformers.CLIPModel, "siglip": transformers.SiglipModel,
          "vit": transformers.ViTForImageClassification, "bert": transformers.BertForMaskedLM,
          "gpt2": transformers.GPT2LMHeadModel, "llama": transformers.LlamaForCausalLM,
          "open_clip_openai": None, "open_clip_laion": None}


def tensors_of(folder):
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def load(name, folder):
    if MODELS[name] is None:
        return open_clip.create_model_and_transforms(f"local-dir:{folder}")[0].eval()
    model, told = MODELS[name].from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not told[kind], f"{name}: {kind} {told[kind]}"
    return model.eval()


@torch.no_grad()
def answers(name, model, inputs):
    """What the model says of the inputs, one tensor after another."""
    tokens = made.Words().tokens if name in ("clip", "open_clip_openai") else made.ended(inputs)
    if name.startswith("open_clip"):
        return model(inputs.normalized, tokens)
    if name.startswith("clip") or name == "siglip":
        answer = model(input_ids=tokens, pixel_values=inputs.normalized)
        return answer.image_embeds, answer.text_embeds, answer.logits_per_text
    if name == "vit":
        return (model(pixel_values=inputs.normalized).logits,)
    return (model(input_ids=inputs.tokens).logits,)


def normalized_answers(name, model, inputs):
    """As `answers`, of pixels that are normalised as the family's are."""
    if name not in ("siglip", "vit"):
        return answers(name, model, inputs)[:2]
    other = made.copy.copy(inputs)
    other.normalized = inputs.normalized_by([0.5] * 3, [0.5] * 3)
    return answers(name, model, other)[:2]


@torch.no_grad()
def answers_here(name, folder, inputs):
    """The same of the imported checkpoint, by the Python package."""
    model = package.load(folder)
    if name == "open_clip_openai":  # CLIP's merges
        try:
            raise AssertionError(model.texts(["a"]))
        except UnsupportedError:
            pass
    if name.startswith(("clip", "open_clip", "siglip")):
        words = made.Words() if name in ("clip", "open_clip_openai") else None
        tokens, lengths = (made.ended(inputs), inputs.lengths) if words is None else (words.tokens, words.lengths)
        image, text = model.encode_image(inputs.pixels), model.encode_text(tokens, lengths)
        return image, text
    if name == "vit":
        return (model(inputs.pixels)["logits"],)
    return (model(tokens=inputs.tokens, lengths=torch.full((made.IMAGES,), made.LENGTH))["logits"],)


def difference(a, b):
    return max(((x - y).abs().max() / x.abs().max()).item() for x, y in zip(a, b))


def main():
    folder, triptych = pathlib.Path(sys.argv[1]), sys.argv[2]
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    inputs = made.Inputs()
    print("  of an export: files, tensors, the largest difference of the answers; of the import by the Python package: that")
    for name, kind in MODELS.items():
        library = "open_clip" if kind is None else "hf"
        original = folder / name
        for files, more in ((1, []), ("many", ["--max-file-gb", "0.00003"])):
            if kind is None and more:
                continue
            out = folder / f"{name}.exported_{files}"
            subprocess.run([triptych, "export", library, folder / f"{name}.imported", "--out", out, *more], check=True,
                           stdout=subprocess.DEVNULL)
            theirs, ours = tensors_of(original), tensors_of(out)
            assert theirs.keys() == ours.keys(), f"{name}: {theirs.keys() ^ ours.keys()}"
            for key, tensor in theirs.items():
                assert tensor.dtype == ours[key].dtype and torch.equal(tensor, ours[key]), f"{name}: {key}"
            apart = difference(answers(name, load(name, original), inputs), answers(name, load(name, out), inputs))
            print(f"  {name:<18} {len(list(out.glob('*.safetensors'))):>5}  {len(ours):>7}  {apart:.1e}")
            assert apart == 0, name
        apart = difference(normalized_answers(name, load(name, original), inputs),
                           answers_here(name, folder / f"{name}.imported", inputs))
        print(f"  {name:<18} {'by the Python package':>15}  {apart:.1e}")
        assert apart < 1e-5, name
    # From one library to the other.
    out = folder / "clip.as_open_clip"
    subprocess.run([triptych, "export", "open_clip", folder / "clip.imported", "--out", out], check=True,
                   stdout=subprocess.DEVNULL)
    image, text, _ = answers("clip", load("clip", folder / "clip"), inputs)
    other_image, other_text, _ = answers("open_clip_openai", load("open_clip_openai", out), inputs)
    apart = difference((image, text), (other_image, other_text))
    print(f"  transformers' CLIP in open_clip: {apart:.1e}")
    assert apart < 1e-5


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
