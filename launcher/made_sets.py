"""What the scripts that make data sets share: sets are made once, beside their place, and found whole or not at all."""

import hashlib
import io
import json
import shutil
import time
import warnings

import PIL
from PIL import Image

from messages import fail, say

# A picture is looked at by its header first: one of more pixels is no drawing, but would take the memory of many.
MAX_PIXELS = 4_000_000


def make_once(out, made_from, fresh, make):
    """Calls make(folder) unless DIR/sources of `out` is of `made_from` already; make returns facts, which are printed.

    made_from   what the sets depend on, as JSON keeps it; Pillow's version is added, which draws, resizes and packs pictures
    """
    began = time.monotonic()
    sources = out / "sources"
    stamp_file = sources / "stamp.json"
    made_from = made_from | {"pillow": PIL.__version__}
    stamp = json.loads(stamp_file.read_text()) if stamp_file.exists() else {}
    if fresh or stamp.get("made_from") != made_from:
        say("reading " + ", ".join(made_from["packages"]))
        # Beside the final place, then renamed: whoever finds sources/ finds all of it.
        incoming = out / "sources.incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        stamp = {"made_from": made_from, "facts": make(incoming)}
        (incoming / "stamp.json").write_text(json.dumps(stamp, indent=2) + "\n")
        shutil.rmtree(sources, ignore_errors=True)
        incoming.rename(sources)
        say(f"made {sources} in {time.monotonic() - began:.1f} s")
    else:
        say(f"{sources} is there and up to date")
    for fact in stamp["facts"]:
        say(fact)


def write_lines(folder, lines, classes=()):
    """A set's captions.jsonl, and its classes.txt if it has classes; the pictures are in folder/images already."""
    with open(folder / "captions.jsonl", "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if classes:
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")


def open_picture(name, data, max_pixels=MAX_PIXELS):
    """The picture of encoded bytes as RGBA, or None if its header says more than max_pixels; fails if it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # we look ourselves, and at fewer
            image = Image.open(io.BytesIO(data))
        return image.convert("RGBA") if image.width * image.height <= max_pixels else None
    except Image.DecompressionBombError:
        return None
    except (OSError, ValueError, SyntaxError) as error:
        fail(name, f"is no picture that can be read: {error}. Delete the package and run again.")


def shrunk(image, side):
    """The picture with no side longer than `side`, filtered with premultiplied alpha; itself if it is no larger."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = tuple(max(1, round(length * scale)) for length in image.size)
    return image.resize(size, Image.Resampling.BILINEAR)


def write_png(image, file):
    """Without the channels that say nothing: alpha of an opaque picture, colour of a grey one."""
    if image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, "PNG")


def digest(text):
    """A number of 64 bits that depends on the text alone: what order and splits go by."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def held_out(keys, one_in):
    """Those of the keys that are not trained on: the first of every `one_in` in the order of their digests."""
    return set(sorted(set(keys), key=lambda key: (digest(key), key))[::one_in])
