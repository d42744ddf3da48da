"""Pictures as the models see them: docs/models.md, "Pictures". Equal to the program's bytes."""
import io
import struct

import numpy as np
from PIL import Image

from .errors import FormatError

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 64 << 20
_ORIENTATION = 0x0112  # EXIF's tag
# EXIF's orientations 2 to 8 as what makes the stored picture the one that is seen.
_TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
          5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}


class Pictures:
    """Makes uint8 [B, size, size, 3] of pictures: what `triptych eval` sees of them.

    >>> pixels = Pictures(224)(["a.jpg", open("b.png", "rb").read(), an_image])

    A picture is a path, the bytes of a file, or a PIL image. Paths and bytes give the program's very pixels. A PIL image that was
    opened and not loaded does so too; of a decoded one a JPEG's reduced decoding is not to be had, so large ones differ a little.
    """

    def __init__(self, size, fit="crop", filter="linear"):
        """`fit` and `filter` are a config's `data.fit` and `data.filter`."""
        if fit not in ("crop", "stretch") or filter not in ("linear", "cubic"):
            raise FormatError("pictures", f"fit must be crop or stretch and filter linear or cubic, found {fit!r} and {filter!r}")
        self.size, self.fit, self.filter = size, fit, filter

    def __call__(self, pictures):
        if isinstance(pictures, (str, bytes, Image.Image)) or hasattr(pictures, "__fspath__"):
            raise TypeError("pictures are a list; put a single one into one: [picture]")
        return np.stack([self.one(picture) for picture in pictures]) if len(pictures) else np.empty(
            (0, self.size, self.size, 3), np.uint8)

    def one(self, picture):
        """uint8 [size, size, 3] of one picture."""
        image, where = _opened(picture)
        raw_mode = _raw_mode(image)
        orientation = _orientation_of(image, where)
        width, height = image.size
        full = (height, width) if orientation >= 5 else (width, height)  # as it is seen
        sides = full if self.fit == "stretch" else (min(full), min(full))
        if self.filter == "linear":
            _draft(image, min(sides) / self.size)
        pixels = _turned(_rgb(image, raw_mode, where), orientation)
        reduced = pixels.shape[1], pixels.shape[0]
        box = [((n - side) / 2 * (r / n), side * (r / n)) for n, r, side in zip(full, reduced, sides)]
        return _resized(pixels, box, self.size, self.filter == "cubic")


def _opened(picture):
    if isinstance(picture, Image.Image):
        return picture, "picture"
    is_bytes = isinstance(picture, bytes)
    where = "picture" if is_bytes else str(picture)
    try:
        image = Image.open(io.BytesIO(picture) if is_bytes else picture, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise FormatError(where, f"must have at most {MOST_PIXELS} pixels: {error}. Scale it down") from error
    except OSError as error:
        raise FormatError(where, f"must be a JPEG, PNG or WebP file: {error}. Convert it") from error
    if image.width * image.height > MOST_PIXELS:
        raise FormatError(where, f"must have at most {MOST_PIXELS} pixels, found {image.width} x {image.height}. Scale it down")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise FormatError(where, "must be still, and is an animation. Extract a frame")
    return image, where


def _draft(image, ratio):
    """A JPEG at the largest reduction of 8, 4, 2, 1 that `ratio` allows."""
    reduction = next(r for r in (8, 4, 2, 1) if ratio >= r or r == 1)
    if reduction > 1 and hasattr(image, "draft"):
        image.draft(None, (image.width // reduction, image.height // reduction))


def _orientation_of(image, where):
    """1 to 8, of the EXIF block alone; 1 where there is none."""
    if image.format == "PNG":
        _load(image, where)  # its block may stand behind the pixels
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        value = exif.get(_ORIENTATION, 1)
    except (ValueError, SyntaxError, KeyError, IndexError, TypeError, OSError, struct.error):
        return 1  # a block that is damaged says nothing of the pixels
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _load(image, where):
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise FormatError(where, f"must be a whole, sound picture: {error}. Replace it") from error


def _turned(pixels, orientation):
    if orientation == 1:
        return pixels
    return np.asarray(Image.fromarray(pixels).transpose(_TURNS[orientation]))


def _rgb(image, raw_mode, where):
    """uint8 [H, W, 3]: on white where it is transparent."""
    _load(image, where)
    mode, is_masked = image.mode, "transparency" in image.info
    if mode.startswith(("I", "F")) or ";16" in raw_mode:
        raise FormatError(where, f"must have 8 bits a channel for the program's very pixels, its mode is {mode}. Convert it")
    if mode == "CMYK":
        inks = np.asarray(image).astype(np.uint32)
        inks = 255 - inks if "adobe" in image.info or image.format not in ("JPEG", "MPO") else inks
        return ((inks[..., :3] * inks[..., 3:] + 127) // 255).astype(np.uint8)
    if mode in ("LA", "PA", "RGBA") or is_masked:
        if is_masked and raw_mode in ("1", "L;2", "L;4"):
            raise FormatError(where, "a transparent grey PNG must have 8 bits. Convert it")
        rgba = np.asarray(image.convert("RGBA")).astype(np.uint32)
        alpha = rgba[..., 3:]
        return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.asarray(image.convert("RGB"))


def _raw_mode(image):
    """How the pixels of a PNG lie in its file, such as "RGB;16B"; "" of what is none, or is decoded already."""
    tiles = getattr(image, "tile", None)
    return str(tiles[0][3]) if image.format == "PNG" and tiles else ""


def _resized(pixels, box, size, is_cubic):
    """`box`, (start, length) along the rows' axis and along the columns', to size x size: first down the columns."""
    (x, width), (y, height) = box
    rows, vertical = _weights(y, height, pixels.shape[0], size, is_cubic)
    columns, horizontal = _weights(x, width, pixels.shape[1], size, is_cubic)
    first, last = columns.min(), columns.max() + 1
    values = pixels[:, first:last].astype(np.float32)
    # Sums in the program's order and type; what pads a row of taps has the weight 0 and adds nothing.
    middle = vertical[:, 0, None, None] * values[rows[:, 0]]
    for k in range(1, rows.shape[1]):
        middle += vertical[:, k, None, None] * values[rows[:, k]]
    out = horizontal[:, 0, None] * middle[:, columns[:, 0] - first]
    for k in range(1, columns.shape[1]):
        out += horizontal[:, k, None] * middle[:, columns[:, k] - first]
    return (np.clip(out, np.float32(0), np.float32(255)) + np.float32(0.5)).astype(np.int32).astype(np.uint8)


def _triangle(x):
    return 1 - np.abs(x)


def _cubic(x):
    """Keys 1981, a = -0.5."""
    a, t = -0.5, np.abs(x)
    return np.where(t < 1, ((a + 2) * t - (a + 3)) * t * t + 1, np.where(t < 2, (((t - 5) * t + 8) * t - 4) * a, 0))


def _weights(start, length, inputs, outputs, is_cubic):
    """For each output the inputs that it is made of and their weights in float32, [outputs, taps] both."""
    start = max(start, 0.0)
    length = min(length, inputs - start)
    scale = length / outputs
    unit = max(scale, 1.0)
    support, weight = (2 * unit, _cubic) if is_cubic else (unit, _triangle)
    low, high = (0, inputs) if is_cubic else (np.floor(start), min(np.ceil(start + length), inputs))
    centre = start + (np.arange(outputs) + 0.5) * scale
    first = np.maximum(low, np.floor(centre - support))
    last = np.minimum(high, np.ceil(centre + support)) - 1

    def is_outside(j):
        return np.abs(j + 0.5 - centre) >= support

    while (cut := (first < last) & is_outside(first)).any():
        first[cut] += 1
    while (cut := (first < last) & is_outside(last)).any():
        last[cut] -= 1
    taps = np.arange(int((last - first).max()) + 1)
    places = first[:, None] + taps
    weights = weight((places + 0.5 - centre[:, None]) / unit)
    weights[places > last[:, None]] = 0
    total = np.zeros(outputs)
    for k in taps:  # one after the other, as the program adds them
        total += weights[:, k]
    return np.minimum(places, last[:, None]).astype(np.int64), (weights / total[:, None]).astype(np.float32)
