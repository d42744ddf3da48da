"""Writes images and, for each, the pixels that a decoder must give: tests/data/image_decoder_test.cpp compares.

usage: make_images.py OUT_DIR

OUT_DIR/decode.txt   file, raw RGB file, width, height, tolerance, reduction: one image a line
OUT_DIR/resize.txt   source raw, width, height, x0, y0, x1, y1, size, expected raw
OUT_DIR/broken/*     files that must be refused
"""
import io
import pathlib
import struct
import sys
import zlib

import numpy as np
from PIL import Image, ImageCms, ImageOps

out = pathlib.Path(sys.argv[1])
(out / "broken").mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(7)
decode_lines, resize_lines = [], []


def picture(height, width, channels):
    """Smooth colours with some texture, so that JPEG and WebP have something to lose."""
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        wave = 127 + 90 * np.sin(x / (5 + 3 * c) + c) + 37 * np.cos(y / (7 - c)) + random.normal(0, 4, (height, width))
        planes.append(np.clip(wave, 0, 255))
    return np.stack(planes, axis=2).astype(np.uint8)


def on_white(rgba):
    rgba = rgba.astype(np.int64)
    alpha = rgba[:, :, 3:]
    return np.rint((rgba[:, :, :3] * alpha + 255 * (255 - alpha)) / 255).astype(np.uint8)


def expect(name, rgb, tolerance=0, reduction=1, file=None):
    raw = name + f".{reduction}.raw"
    (out / raw).write_bytes(np.ascontiguousarray(rgb).tobytes())
    decode_lines.append(f"{file or name} {raw} {rgb.shape[1]} {rgb.shape[0]} {tolerance} {reduction}")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bytes(pixels, depth, color_type, interlaced=False, header_size=None, extra=b"", end=True):
    """A PNG written from the specification alone; pixels are [height, width, channels] of 8 or 16 bits."""
    height, width = pixels.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    raw = b""
    for y0, x0, dy, dx in passes if interlaced else [(0, 0, 1, 1)]:
        part = pixels[y0::dy, x0::dx]
        if part.shape[0] and part.shape[1]:
            raw += b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in part)
    w, h = header_size or (width, height)
    header = struct.pack(">IIBBBBB", w, h, depth, color_type, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw)) +
            (chunk(b"IEND", b"") if end else b""))


def save(name, image, **options):
    image.save(out / name, **options)


def main():
    rgb, rgba = picture(23, 37, 3), picture(23, 37, 4)
    rgba[3:9, 5:20, 3] = 0
    rgba[10:14, :, 3] = 255
    gray = picture(29, 31, 1)

    # PNG
    save("rgb.png", Image.fromarray(rgb))
    expect("rgb.png", rgb)
    save("rgba.png", Image.fromarray(rgba))
    expect("rgba.png", on_white(rgba))
    save("gray.png", Image.fromarray(gray[:, :, 0]))
    expect("gray.png", np.repeat(gray, 3, axis=2))
    gray_alpha = np.concatenate([gray, 255 - gray], axis=2)
    save("gray_alpha.png", Image.fromarray(gray_alpha, "LA"))
    expect("gray_alpha.png", on_white(np.concatenate([np.repeat(gray, 3, axis=2), 255 - gray], axis=2)))
    bits = gray[:, :, 0] > 127
    save("one_bit.png", Image.fromarray(bits))
    expect("one_bit.png", np.repeat(bits[:, :, None] * np.uint8(255), 3, axis=2))
    palette = Image.fromarray(rgb).quantize(13)
    save("palette.png", palette)
    expect("palette.png", np.array(palette.convert("RGB")))
    save("palette_alpha.png", palette, transparency=bytes([0, 100, 255]))
    reopened = np.array(Image.open(out / "palette_alpha.png").convert("RGBA"))
    expect("palette_alpha.png", on_white(reopened))
    wide = random.integers(0, 65536, (11, 13, 3), dtype=np.uint16)
    (out / "rgb16.png").write_bytes(png_bytes(wide, 16, 2))
    expect("rgb16.png", np.rint(wide * 255.0 / 65535).astype(np.uint8))
    wide_alpha = random.integers(0, 65536, (11, 13, 4), dtype=np.uint16)
    (out / "rgba16.png").write_bytes(png_bytes(wide_alpha, 16, 6))
    expect("rgba16.png", on_white(np.rint(wide_alpha * 255.0 / 65535)))
    for width, height in [(37, 23), (1, 1), (3, 2), (8, 8)]:
        name = f"interlaced_{width}x{height}"
        (out / f"{name}_rgb.png").write_bytes(png_bytes(rgb[:height, :width], 8, 2, interlaced=True))
        expect(f"{name}_rgb.png", rgb[:height, :width])
        (out / f"{name}_rgba.png").write_bytes(png_bytes(rgba[:height, :width], 8, 6, interlaced=True))
        expect(f"{name}_rgba.png", on_white(rgba[:height, :width]))

    # JPEG, whole and reduced
    large = picture(70, 101, 3)
    for name, options in {
        "420.jpg": dict(quality=90, subsampling=2),
        "444.jpg": dict(quality=95, subsampling=0),
        "progressive.jpg": dict(quality=85, progressive=True),
        "restarts.jpg": dict(quality=80),
    }.items():
        save(name, Image.fromarray(large), **options)
        expect(name, np.array(Image.open(out / name)), tolerance=2)
        for reduction in (2, 4, 8):
            image = Image.open(out / name)
            image.draft("RGB", (image.width // reduction, image.height // reduction))
            expect(name, np.array(image), tolerance=2, reduction=reduction, file=name)
    save("gray.jpg", Image.fromarray(gray[:, :, 0]), quality=90)
    expect("gray.jpg", np.array(Image.open(out / "gray.jpg").convert("RGB")), tolerance=2)
    save("cmyk.jpg", Image.fromarray(rgba, "CMYK"), quality=90)
    expect("cmyk.jpg", np.array(Image.open(out / "cmyk.jpg").convert("RGB")), tolerance=2)

    # WebP
    save("lossless.webp", Image.fromarray(rgb), lossless=True)
    expect("lossless.webp", rgb)
    save("lossless_alpha.webp", Image.fromarray(rgba), lossless=True, exact=True)
    expect("lossless_alpha.webp", on_white(rgba))
    save("lossy.webp", Image.fromarray(large), quality=80)
    expect("lossy.webp", np.array(Image.open(out / "lossy.webp").convert("RGB")), tolerance=2)
    save("lossy_alpha.webp", Image.fromarray(rgba), quality=80)
    expect("lossy_alpha.webp", on_white(np.array(Image.open(out / "lossy_alpha.webp").convert("RGBA"))), tolerance=2)

    # Stored turned or mirrored, in each of the ways that EXIF has; Pillow's own exif_transpose says how it is seen
    lying = picture(9, 14, 3)
    for kind, options in {"png": {}, "webp": dict(lossless=True), "jpg": dict(quality=95, subsampling=0)}.items():
        for orientation in range(1, 9):
            name = f"oriented_{orientation}.{kind}"
            exif = Image.Exif()
            exif[0x0112] = orientation
            save(name, Image.fromarray(lying), exif=exif, **options)
            seen = ImageOps.exif_transpose(Image.open(out / name)).convert("RGB")
            expect(name, np.array(seen), tolerance=2 if kind == "jpg" else 0)
    # EXIF blocks that point outside themselves, are cut or state nonsense count as none
    big = b"MM\0*" + struct.pack(">I", 8)
    for number, tiff in enumerate([
            b"", b"MM", b"MM\0*\xff\xff\xff\xff", big, big + b"\xff\xff", big + struct.pack(">HHHI", 1, 0x0112, 3, 1),
            big + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 9, 0), big + struct.pack(">HHHIHH", 1, 0x0112, 3, 1, 0, 0),
            big + struct.pack(">HHHIHH", 1, 0x0112, 2, 1, 6, 0), big + struct.pack(">HHHIHH", 1, 0x0112, 3, 2, 6, 0)]):
        name = f"hostile_exif_{number}.png"
        (out / name).write_bytes(png_bytes(rgb, 8, 2, extra=chunk(b"eXIf", tiff)))
        expect(name, rgb)
    little = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x0112, 4, 1, 6)
    (out / "little_exif.png").write_bytes(png_bytes(rgb, 8, 2, extra=chunk(b"eXIf", little)))
    expect("little_exif.png", np.rot90(rgb, -1))
    damaged = chunk(b"eXIf", little)
    (out / "exif_checksum.png").write_bytes(png_bytes(rgb, 8, 2, extra=damaged[:-1] + bytes([damaged[-1] ^ 1])))
    expect("exif_checksum.png", rgb)

    # Bytes behind the picture, and zeros before a JPEG's end marker, are nobody's
    for name, slack in {"rgb.png": b"\0" * 999, "420.jpg": b"slack\xff\xd9", "lossless.webp": b"more"}.items():
        (out / f"slack_{name}").write_bytes((out / name).read_bytes() + slack)
        expect(f"slack_{name}", np.array(Image.open(out / name).convert("RGB")), tolerance=2, file=f"slack_{name}")
    webp_exif = b"EXIF" + struct.pack("<I", len(little)) + little
    for name, slack in {"png": chunk(b"eXIf", little), "webp": webp_exif}.items():
        whole = (out / ("rgb.png" if name == "png" else "lossless.webp")).read_bytes()
        (out / f"slack_exif.{name}").write_bytes(whole + slack)
        expect(f"slack_exif.{name}", rgb)
    whole_jpeg = (out / "420.jpg").read_bytes()
    (out / "filled_420.jpg").write_bytes(whole_jpeg[:-2] + b"\0" * 300 + whole_jpeg[-2:])
    expect("filled_420.jpg", np.array(Image.open(out / "420.jpg").convert("RGB")), tolerance=2)

    # What decoding passes over is told: remarks.txt has a file and a part of what is said of it, or nothing
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace("sRGB".encode("utf-16-be"), "Wide".encode("utf-16-be")).replace(b"sRGB", b"Wide")
    remark_lines = []
    for kind, options in {"png": {}, "webp": dict(lossless=True), "jpg": dict(quality=95)}.items():
        save(f"srgb.{kind}", Image.fromarray(rgb), icc_profile=srgb, **options)
        save(f"wide.{kind}", Image.fromarray(rgb), icc_profile=other, **options)
        remark_lines += [f"srgb.{kind}", f"wide.{kind} profile other than sRGB"]
        data = (out / {"png": "rgb.png", "webp": "lossless.webp", "jpg": "420.jpg"}[kind]).read_bytes()
        (out / f"cut.{kind}").write_bytes(data[:len(data) * 8 // 10])
        remark_lines.append(f"cut.{kind} ends before its pixels do")
    for name, extra, said in [("gamma", chunk(b"gAMA", struct.pack(">I", 100000)), "gamma other than sRGB's (1)"),
                              ("usual_gamma", chunk(b"gAMA", struct.pack(">I", 45455)), ""),
                              ("srgb_gamma", chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100000)), ""),
                              ("cicp", chunk(b"cICP", bytes([9, 16, 0, 1])), "cICP"),
                              ("repeated_cicp", chunk(b"cICP", bytes([9, 16, 0, 1])) * 50, "cICP"),
                              ("repeated_frames", chunk(b"acTL", bytes(8)) * 50, "first picture")]:
        (out / f"{name}.png").write_bytes(png_bytes(rgb, 8, 2, extra=extra))
        remark_lines.append(f"{name}.png {said}")
    wide = (out / "wide.jpg").read_bytes()
    profile = wide.index(b"\xff\xe2")
    behind = profile + 2 + struct.unpack(">H", wide[profile + 2:profile + 4])[0]
    (out / "repeated_profile.jpg").write_bytes(wide[:profile] + wide[profile:behind] * 50 + wide[behind:])
    remark_lines.append("repeated_profile.jpg profile other than sRGB")
    Image.fromarray(rgb).save(out / "animated.png", save_all=True, append_images=[Image.fromarray(255 - rgb)])
    remark_lines += ["animated.png first picture", "oriented_6.jpg", "rgb16.png", "cmyk.jpg", "slack_420.jpg"]
    (out / "remarks.txt").write_text("\n".join(remark_lines) + "\n")

    # Files that lie, explode or are of another kind
    broken = {
        "bomb.png": png_bytes(rgb, 8, 2, header_size=(100000, 100000)),
        "taller.png": png_bytes(rgb, 8, 2, header_size=(37, 24)),
        "shorter.png": png_bytes(rgb, 8, 2, header_size=(37, 22)),
        "wider.png": png_bytes(rgb, 8, 2, header_size=(38, 23)),
        "empty_side.png": png_bytes(rgb, 8, 2, header_size=(0, 23)),
        "negative.png": png_bytes(rgb, 8, 2, header_size=(2**31 + 1, 2**31 + 1)),
        "illegal_depth.png": png_bytes(rgb, 4, 2),
        "no_end.png": png_bytes(rgb, 8, 2, end=False),
        "text.png": b"not an image at all",
        "empty.png": b"",
    }
    whole = (out / "rgb.png").read_bytes()
    broken["header_checksum.png"] = whole[:19] + bytes([whole[19] ^ 1]) + whole[20:]
    middle = len(whole) // 2
    broken["flipped_bit.png"] = whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1:]
    jpeg = (out / "420.jpg").read_bytes()
    frame = jpeg.index(b"\xff\xc0")
    for name, height, width in [("taller.jpg", 700, 101), ("shorter.jpg", 33, 101), ("bomb.jpg", 65535, 65535),
                                ("empty_side.jpg", 70, 0)]:
        broken[name] = jpeg[:frame + 5] + struct.pack(">HH", height, width) + jpeg[frame + 9:]
    progressive = (out / "progressive.jpg").read_bytes()
    scans = [i for i in range(len(progressive) - 1) if progressive[i:i + 2] == b"\xff\xda"]
    scan = progressive[scans[0]:scans[1]]
    last = progressive[scans[-1]:-2]
    broken["filled_not_with_zeros.jpg"] = jpeg[:-2] + b"\0" * 20 + b"x" + jpeg[-2:]
    broken["scan_bomb.jpg"] = progressive[:-2] + last * 500 + b"\xff\xd9"
    broken["second_scan.jpg"] = jpeg[:-2] + scan + b"\xff\xd9"
    webp = (out / "lossy.webp").read_bytes()
    start = webp.index(b"\x9d\x01\x2a")
    broken["taller.webp"] = webp[:start + 3] + struct.pack("<HH", 101, 7000) + webp[start + 7:]
    stream = io.BytesIO()
    frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    broken["animation.webp"] = stream.getvalue()
    stream = io.BytesIO()
    frames[0].save(stream, "GIF")
    broken["image.gif"] = stream.getvalue()
    for name, data in broken.items():
        (out / "broken" / name).write_bytes(data)

    # Pillow's own triangle filter; it rounds after each of its two passes, so one level of difference is allowed.
    source = picture(136, 131, 3)
    (out / "source.raw").write_bytes(source.tobytes())
    for x0, y0, x1, y1, size in [(0, 0, 131, 136, 64), (3, 5, 120, 98, 32), (10, 20, 43, 50, 64), (0, 0, 131, 136, 7),
                                 (130, 135, 131, 136, 5), (2, 2, 99, 99, 97)]:
        expected = np.array(Image.fromarray(source[y0:y1, x0:x1]).resize((size, size), Image.BILINEAR))
        name = f"resize_{x0}_{y0}_{x1}_{y1}_{size}.raw"
        (out / name).write_bytes(expected.tobytes())
        resize_lines.append(f"source.raw 131 136 {x0} {y0} {x1} {y1} {size} {name}")

    (out / "decode.txt").write_text("\n".join(decode_lines) + "\n")
    (out / "resize.txt").write_text("\n".join(resize_lines) + "\n")


main()
