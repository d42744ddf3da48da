"""Pictures of every kind that the program reads, drawn with Pillow: name -> bytes of a file."""
import io

import numpy as np
from PIL import Image, ImageDraw

ORIENTATION = 0x0112


def drawn(width, height, seed):
    """RGB: waves, a disc and a line, so that any shift or turn shows."""
    y, x = np.mgrid[:height, :width]
    rng = np.random.default_rng(seed)
    waves = [np.sin(x * rng.uniform(0.05, 0.6) + y * rng.uniform(0.05, 0.6)) * 100 + 128 for _ in range(3)]
    image = Image.fromarray(np.stack(waves, -1).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.ellipse((width // 8, height // 6, width // 2, height // 2), fill=(220, 40, 60))
    pen.line((0, height - 1, width // 2, height // 2), fill="white", width=2)
    return image


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


def all_pictures():
    picture, files = drawn(37, 29, 1), {}
    alpha = Image.fromarray((np.mgrid[:29, :37][1] * 6).astype(np.uint8))
    clear = picture.copy()
    clear.putalpha(alpha)
    palette = picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
    for name, (width, height) in {"tiny": (3, 2), "wide": (61, 17), "tall": (18, 55), "odd": (33, 32), "one": (1, 1)}.items():
        files[f"{name}.png"] = saved(drawn(width, height, len(name)), "PNG")
        files[f"{name}.jpg"] = saved(drawn(width, height, len(name)), "JPEG", quality=90)
    for side in (47, 63, 95, 130, 257, 401):  # reduced by 1, 2, 4 and 8
        files[f"large_{side}.jpg"] = saved(drawn(side, side + side // 3, side), "JPEG", quality=80, progressive=side % 2 == 0)
    for orientation in range(1, 9):
        files[f"turned_{orientation}.jpg"] = saved(drawn(83, 50, orientation), "JPEG", exif=exif(orientation))
    files |= {"turned.png": saved(picture, "PNG", exif=exif(6)), "turned.webp": saved(picture, "WEBP", exif=exif(5)),
              "subsampled.jpg": saved(picture, "JPEG", subsampling=2), "full.jpg": saved(picture, "JPEG", subsampling=0),
              "grey.jpg": saved(picture.convert("L"), "JPEG"), "cmyk.jpg": saved(picture.convert("CMYK"), "JPEG"),
              "grey.png": saved(picture.convert("L"), "PNG"), "bits.png": saved(picture.convert("1"), "PNG"),
              "palette.png": saved(palette, "PNG", bits=4), "clear_palette.png": saved(palette, "PNG", transparency=3),
              "clear.png": saved(clear, "PNG"), "clear_grey.png": saved(clear.convert("LA"), "PNG"),
              "one_clear.png": saved(picture, "PNG", transparency=picture.getpixel((5, 9))),
              "lossy.webp": saved(picture, "WEBP", quality=70), "lossless.webp": saved(picture, "WEBP", lossless=True),
              "clear.webp": saved(clear, "WEBP", lossless=True, exact=True), "clear_lossy.webp": saved(clear, "WEBP", quality=80)}
    return files
