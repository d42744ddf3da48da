#!/usr/bin/env python3
"""From files of pictures and strings to embeddings: what the libraries' own preparation and model make of them, and what
`triptych embed` makes with the imported model.

usage: check_embeddings.py FOLDER TRIPTYCH   FOLDER is make_reference.py's

- Texts within 1e-5, and pictures that have the model's size.
- Other pictures are resized: by theirs in 8 bits, rounded and cut to 0 to 255 between columns and rows, here in float32, rounded
  and cut once at the end. So: what of the pixels differs is printed and bounded, and the library's model, given our pixels, must
  say the same within 1e-5.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import open_clip
import torch
import transformers
from PIL import Image, ImageDraw

import make_reference as made

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "python"))
from triptych.pictures import Pictures  # noqa: E402

SIDE = made.IMAGE["image_size"]
# Width and height by what is asked of them.
SQUARES = [(64, 64), (53, 53), (13, 13), (200, 200)]
SIZES = {"of the model's size": [(SIDE, SIDE)], "square": SQUARES, "square, of black and white noise": SQUARES,
         "whose longer side comes out whole": [(80, 40), (40, 100)], "whose longer side does not": [(97, 64), (61, 90), (31, 140)]}
FORMATS = ("png", "jpg")
TEXTS = made.TEXTS[:-1] + ["A photo of a cat.", "un café — l'été", "赤いりんご 🍎", "x" * 300, "<b>&amp;  tabs\tand\nlines</b>"]
CLOSE = 1e-5
# Levels of 255 in which the pixels may differ: by the second rounding; more where what the first pass makes is cut; not bounded
# where their crop lies elsewhere by a part of a pixel.
LEVELS = {"of the model's size": 0, "square": 1, "square, of black and white noise": 12, "whose longer side comes out whole": 1}


def draw(number, size, is_harsh):
    """Shapes with hard edges on noise, so that every filter shows; only a harsh one overshoots black and white."""
    rng = np.random.default_rng(number)
    least, most = (0, 256) if is_harsh else (64, 192)
    image = Image.fromarray(rng.integers(least, most, (size[1], size[0], 3), np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = sorted(rng.integers(0, size[0], 2).tolist()), sorted(rng.integers(0, size[1], 2).tolist())
        pen.ellipse((x[0], y[0], x[1] + 2, y[1] + 2), fill=tuple(rng.integers(least, most, 3).tolist()))
    return image


def write_data(folder, triptych):
    """A data set of all pictures and texts; paths of the pictures by group."""
    images, groups, lines = folder / "images", {}, []
    images.mkdir()
    for group, sizes in SIZES.items():
        for size in sizes:
            for extension in FORMATS:
                path = images / f"{len(lines)}.{extension}"
                draw(len(lines), size, "noise" in group).save(path, quality=90)
                groups.setdefault(group, []).append((len(lines), path))
                lines.append({"image": path.name, "captions": [TEXTS[len(lines) % len(TEXTS)]]})
    (images / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    subprocess.run([triptych, "ingest", "pairs", "--images", images, "--captions", images / "captions.jsonl", "--out",
                    folder / "data"], check=True, stdout=subprocess.DEVNULL)
    return groups, [line["captions"][0] for line in lines]


def embedded(triptych, folder, imported, what):
    out = folder / f"{imported.name}{what}.npy"
    subprocess.run([triptych, "embed", imported / "config.toml", "--checkpoint", imported, "--data", folder / "data", what,
                    "--out", out], check=True, stdout=subprocess.DEVNULL)
    return torch.from_numpy(np.load(out))


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


class OfTransformers:
    def __init__(self, folder):
        self.model = transformers.CLIPModel.from_pretrained(folder).eval()
        self.processor = transformers.CLIPProcessor.from_pretrained(folder)
        self.mean, self.std = self.processor.image_processor.image_mean, self.processor.image_processor.image_std

    def prepare(self, picture):
        return self.processor(images=picture, return_tensors="pt")["pixel_values"][0]

    def images(self, pixels):
        return unit(self.model.get_image_features(pixel_values=pixels).pooler_output)

    def texts(self, texts):
        given = self.processor(text=texts, return_tensors="pt", padding="max_length", truncation=True, max_length=made.LENGTH)
        return unit(self.model.get_text_features(**given).pooler_output)


class OfOpenClip:
    mean, std = made.PIXEL_MEAN.tolist(), made.PIXEL_STD.tolist()

    def __init__(self, folder):
        self.model, _, self.prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def images(self, pixels):
        return self.model.encode_image(pixels, normalize=True)

    def texts(self, texts):
        return self.model.encode_text(self.tokenizer(texts), normalize=True)


@torch.no_grad()
def check(name, library, data, triptych, groups, texts):
    imported = data / "imported" / name
    apart = (embedded(triptych, data, imported, "--texts") - library.texts(texts)).abs().max().item()
    print(f"  {name}: {len(texts)} texts: {apart:.1e}")
    assert apart <= CLOSE, name
    ours = embedded(triptych, data, imported, "--images")
    mean, std = (torch.tensor(x).reshape(3, 1, 1) for x in (library.mean, library.std))
    prepare = Pictures(SIDE, fit="crop", filter="cubic")
    for group, pictures in groups.items():
        theirs = torch.stack([library.prepare(Image.open(path)) for _, path in pictures])
        mine = torch.stack([torch.as_tensor(prepare.one(path)).permute(2, 0, 1) for _, path in pictures])
        levels = (theirs * std + mean) * 255 - mine
        rows = ours[[number for number, _ in pictures]]
        same_pixels = (rows - library.images((mine / 255 - mean) / std)).abs().max().item()
        other = library.images(theirs)
        apart, cosine = (rows - other).abs().max().item(), (rows * other).sum(1).min().item()
        print(f"  {name}: {len(pictures)} pictures {group}: pixels differ by {levels.abs().max():.1f} of 255 at most, "
              f"{levels.abs().mean():.3f} in the mean; embeddings by {apart:.1e}, cosine {cosine:.6f} or more; of the same pixels "
              f"by {same_pixels:.1e}")
        assert same_pixels <= CLOSE, group
        if group in LEVELS:
            assert levels.abs().max() <= LEVELS[group] + 1e-3 and cosine > 0.999, group
        if LEVELS.get(group) == 0:
            assert apart <= CLOSE, group


def main():
    folder, triptych = pathlib.Path(sys.argv[1]), sys.argv[2]
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        data = pathlib.Path(name)
        groups, texts = write_data(data, triptych)
        (data / "imported").mkdir()
        for model, library in (("clip", OfTransformers), ("open_clip_openai", OfOpenClip)):
            (data / "imported" / model).symlink_to((folder / f"{model}.imported").resolve())
            check(model, library(folder / model), data, triptych, groups, texts)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
