#!/usr/bin/python3
"""Small sound inputs for the fuzzers to begin with, written by other libraries than the program's, and few.

usage: make_seeds.py FOLDER      FOLDER/TARGET/NAME, replaced
"""

import base64
import gzip
import io
import json
import struct
import sys
import tarfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

CONFIGS = Path(__file__).parents[2] / "configs"


def pictures():
    rng = np.random.default_rng(1)
    small = Image.fromarray(rng.integers(0, 255, (9, 11, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation

    def save(image, kind, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return {
        "rgb.jpg": save(small, "JPEG"),
        "grey.jpg": save(small.convert("L"), "JPEG"),
        "progressive.jpg": save(small, "JPEG", progressive=True, exif=exif),
        "cmyk.jpg": save(small.convert("CMYK"), "JPEG"),
        "rgb.png": save(small, "PNG"),
        "palette.png": save(small.convert("P"), "PNG", transparency=0),
        "alpha.png": save(small.convert("RGBA"), "PNG"),
        "grey16.png": save(Image.fromarray(rng.integers(0, 65535, (5, 4), np.uint16)), "PNG"),
        "bits.png": save(small.convert("1"), "PNG"),
        "lossy.webp": save(small, "WEBP", quality=50, exif=exif),
        "lossless.webp": save(small, "WEBP", lossless=True),
        "alpha.webp": save(small.convert("RGBA"), "WEBP"),
        "moving.webp": save(small, "WEBP", save_all=True, append_images=[small.rotate(90)]),
    }


def safetensors():
    def file(tensors, data, metadata=None):
        header = ({"__metadata__": metadata} if metadata else {}) | tensors
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + data

    return {
        "empty": file({}, b""),
        "two": file({"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
                     "b": {"dtype": "BF16", "shape": [3], "data_offsets": [8, 14]}}, bytes(14), {"step": "3"}),
        "kinds": file({"s": {"dtype": "F64", "shape": [], "data_offsets": [0, 8]},
                       "i": {"dtype": "I64", "shape": [0, 5], "data_offsets": [8, 8]},
                       "u": {"dtype": "U8", "shape": [4], "data_offsets": [8, 12]}}, bytes(12)),
    }


def npy():
    def save(array):
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    return {"rows": save(np.ones((3, 4), np.float32)), "row": save(np.ones(5, np.float16)), "ids": save(np.ones((2, 3), np.uint64)),
            "fortran": save(np.asfortranarray(np.ones((2, 3), np.float32))), "other": save(np.ones((2, 3)))}


def manifest():
    hash_of = "0123456789abcdef" * 2
    text = json.dumps({
        "format": "triptych-checkpoint", "version": 1, "self_hash": "0" * 32, "step": 3, "skipped_steps": 1,
        "model": "m", "config": "[run]\nseed = 1\n", "cursor": {"step": 3, "data_set": "x"},
        "random": {"seed": 1, "counter": 3}, "extra": {"loss_scale": 1.5, "below": -2}, "mesh": [{"axis": "dp", "size": 2}],
        "world_size": 2,
        "files": [{"name": f"rank_0000{rank}.safetensors", "bytes": 64, "xxh3_128": hash_of} for rank in (0, 1)],
        "tensors": {"w": {"dtype": "F32", "shape": [4, 3], "pieces": [
            {"file": "rank_00000.safetensors", "key": "w", "begin": [0, 0], "shape": [2, 3]},
            {"file": "rank_00001.safetensors", "key": "w", "begin": [2, 0], "shape": [2, 3]}]},
            "s": {"dtype": "F32", "shape": [], "pieces": [
                {"file": "rank_00000.safetensors", "key": "s", "begin": [], "shape": []}]}}}, indent=0)
    return {"two_ranks": text.encode()}


def index():
    def file(labels):
        arrays = {"images/bytes": [2048, 10], "images/offsets": [2064, 24], "captions/bytes": [2096, 6],
                  "captions/offsets": [2104, 24], "captions/first": [2128, 24], "samples/ids": [2152, 16]}
        if labels:
            arrays["samples/labels"] = [2168, 16]
        records = b"".join(struct.pack("<QQQQQ6I", sample, 2048 + 5 * sample, 7, 2096 + 3 * sample, 8, 5, 4, 4, 1, sample, 1)
                           for sample in (0, 1))
        binary = (struct.pack("<8s7Q", b"TRIPTIDX", 1, 2, 2, int(labels), 0, 0, 0) + records +
                  (struct.pack("<2q", 1, -1) if labels else b"") + struct.pack("<2I", 3, 3))
        text = json.dumps({
            "format": "triptych-index", "version": 1, "data_set_id": "a-b", "num_samples": 2, "num_captions": 2,
            "has_labels": labels, "arrays": {"file": "index.bin", "bytes": len(binary), "xxh3_128": "0" * 32},
            "shards": [{"file": "shard_00000.h5", "bytes": 4096, "num_samples": 2, "num_captions": 2,
                        "metadata_xxh3_128": "1" * 32, "arrays": arrays}], "checksum": "0" * 32})
        return text.encode() + b"\0" + binary

    def annotated():
        """Version 2: two samples of two texts and of one box."""
        arrays = {"images/bytes": [2048, 10], "images/offsets": [2064, 24], "captions/bytes": [2096, 6],
                  "captions/offsets": [2104, 24], "captions/first": [2128, 24], "samples/ids": [2152, 16],
                  "captions/roles": [2168, 4], "boxes/first": [2176, 24], "boxes/corners": [2200, 32],
                  "boxes/classes": [2232, 16], "boxes/phrases": [2248, 8]}
        records = b"".join(struct.pack("<QQQQQ3I2H2I", sample, 2048 + 5 * sample, 7, 2096 + 3 * sample, 8, 5, 4, 3, 1, sample,
                                       2 * sample, 2) for sample in (0, 1))
        binary = (struct.pack("<8s7Q", b"TRIPTIDX", 2, 2, 4, 0, 1, 2, 0) + records + struct.pack("<4I", 1, 2, 1, 2) +
                  bytes([1, 2, 0, 3]) + struct.pack("<3Q", 0, 1, 2) + struct.pack("<6i", 0, 0, 4, 3, 2, -1) +
                  struct.pack("<6i", 1, 1, 2, 4, -1, 1))
        text = json.dumps({
            "format": "triptych-index", "version": 2, "data_set_id": "a-b", "num_samples": 2, "num_captions": 4,
            "has_labels": False, "has_roles": True, "num_boxes": 2,
            "arrays": {"file": "index.bin", "bytes": len(binary), "xxh3_128": "0" * 32},
            "shards": [{"file": "shard_00000.h5", "bytes": 4096, "num_samples": 2, "num_captions": 4, "num_boxes": 2,
                        "metadata_xxh3_128": "1" * 32, "arrays": arrays}], "checksum": "0" * 32})
        return text.encode() + b"\0" + binary

    return {"plain": file(False), "labels": file(True), "annotated": annotated()}


def shard():
    def file(labels, annotated=False, **options):
        buffer = io.BytesIO()
        picture = pictures()["rgb.png"]
        captions = ["a caption".encode(), "zwei Wörter".encode()]
        with h5py.File(buffer, "w", **options) as out:
            out.attrs.update({"format": "triptych-shard", "format_version": np.int64(1), "data_set_id": "a-b",
                              "num_samples": np.int64(2), "num_captions": np.int64(2)})
            out["images/bytes"] = np.frombuffer(picture, np.uint8)
            out["images/offsets"] = np.array([0, len(picture), len(picture)], np.uint64)
            out["captions/bytes"] = np.frombuffer(b"".join(captions), np.uint8)
            out["captions/offsets"] = np.array([0, len(captions[0]), len(b"".join(captions))], np.uint64)
            out["captions/first"] = np.array([0, 1, 2], np.uint64)
            out["samples/ids"] = np.array([4, 9], np.uint64)
            if labels:
                out["samples/labels"] = np.array([2, -1], np.int64)
            if annotated:
                out.attrs["format_version"] = np.int64(2)
                out["captions/roles"] = np.array([3, 1], np.uint8)
                out["boxes/first"] = np.array([0, 2, 2], np.uint64)
                out["boxes/corners"] = np.array([0, 0, 1, 1, 1, 0, 2, 2], np.int32)
                out["boxes/classes"] = np.array([5, -1], np.int64)
                out["boxes/phrases"] = np.array([-1, 0], np.int32)
        return buffer.getvalue()

    return {"plain.h5": file(False), "labels.h5": file(True), "latest.h5": file(True, libver="latest"),
            "annotated.h5": file(False, True)}


def config():
    seeds = {path.stem: path.read_bytes() for path in sorted(CONFIGS.glob("*.toml"))[:3]}
    seeds["quotes.toml"] = "[data]\n'path' = 'd\u00e4ta' # '\u00e4'\nseed = 1'\u00e4'\n".encode()
    types = b"""[run]
dir = "a b"
seed = 18_446
threads = 0x10
[training]
steps = 1_000
[optimizer]
learning_rate = 1e-3
weight_decay = 0.1
betas = [0.9, 0.95]
[parallel]
recompute = true
[evaluation]
sets = ["x", 'y']
"""
    return seeds | {"types": types, "overrides": types + b"\0run.seed=3\nevaluation.sets=[\"a\", \"b\"]\nrun.dir=bare\n"}


def model_config():
    """As transformers and open_clip write them."""
    text = {"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8, "intermediate_size": 2048, "vocab_size": 49408,
            "max_position_embeddings": 77, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "eos_token_id": 2}
    image = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "image_size": 224,
             "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    prepared = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": True, "crop_size": {"height": 224, "width": 224},
                "size": {"shortest_edge": 224}, "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
                "rescale_factor": 0.00392156862745098, "do_convert_rgb": True}
    decoder = {"vocab_size": 32000, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
               "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096, "hidden_act": "silu",
               "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}, "tie_word_embeddings": False}
    tower = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12}
    open_clip = {"embed_dim": 512, "quick_gelu": True, "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
                 "text_cfg": tower}
    configs = {
        "clip": {"model_type": "clip", "projection_dim": 512, "logit_scale_init_value": 2.6592, "text_config": text,
                 "vision_config": image},
        "siglip": {"model_type": "siglip", "text_config": text | {"projection_size": 768}, "vision_config": image},
        "vit": {"model_type": "vit", "id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}, "qkv_bias": True,
                "layer_norm_eps": 1e-12} | {key: image[key] for key in ("hidden_size", "image_size", "patch_size")},
        "bert": {"model_type": "bert", "type_vocab_size": 2, "position_embedding_type": "absolute"} | text | {"hidden_act": "gelu"},
        "gpt2": {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_inner": None, "n_positions": 64,
                 "vocab_size": 50257, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5},
        "llama": {"model_type": "llama"} | decoder,
        "open_clip": {"model_cfg": open_clip, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
                                                                  "interpolation": "bicubic", "resize_mode": "shortest"}},
        "open_clip_bare": open_clip}
    return {name: json.dumps(config).encode() + (b"\0" + json.dumps(prepared).encode() if name in ("clip", "siglip", "vit") else b"")
            for name, config in configs.items()}


def schedule():
    return {name: text.encode() for name, text in {
        "split": "# one forward, one backward\nF0 F1 B0 F2 B1 B2\n\nF0 B0 F1 B1 F2 B2\n",
        "coupled": "E0 E1 F0 F1 B0 B1\nE0 E1 L F0 B0 F1 B1\n",
        "there_and_back": "F0@0 F0@3 D0@3 W0@3 D0@0 W0@0\nF0@1 F0@2 D0@2 D0@1 W0@2 W0@1\n",
    }.items()}


def url():
    return {name: text.encode() for name, text in {
        "https": "https://host:8080/a/b%20c/\0shard_00000.h5",
        "http": "http://127.0.0.1/\0a b#?.h5",
        "s3": "s3://bucket/folder/of/shards\0index.json",
        "refused": "https://user:word@host/../a?x=1#y\0\n",
    }.items()}


def lines():
    return {
        "one": json.dumps({"image": "a.png", "caption": "a caption"}).encode(),
        "all": json.dumps({"image": "a.jpg", "captions": ["x", "ÿ"], "id": 7, "label": 3, "other": [1]}).encode(),
        "question": json.dumps({"caption": "x", "question": "what?", "answers": ["a", "b"], "label": 1}).encode(),
        "boxes": json.dumps({"image": "a.jpg", "boxes": [[0, 1, 2, 3], [4, 5, 6, 7]], "classes": [2, None],
                             "phrases": [None, "a dog"], "id": 9}).encode(),
        "escapes": b'{"image": null, "captions": ["\\u00e9\\ud83d\\ude00\\n"], "id": 0}',
        "evaluation": b'{"step":200,"seconds":1.5,"best":true,"metrics":{"a: loss":2.25,"b":null}}',
        "metrics": b'{"step":1,"loss":4.97,"grad_norm":57.2,"learning_rate":1e-3,"temperature":0.07,"skipped":0,"rss_mb":null}',
    }


def run_files():
    picture = {"png": "iVBORw==", "description": "a picture"}
    value = {"number": 0.5, "is_share": True, "text": "", "change": None}
    example = {"group": "g", "picture": picture, "asked": "?"}
    table = {"kind": "table", "title": "t", "caption": "", "subject_head": "s", "columns": ["a", "b"],
             "subjects": [{"name": "n", "notes": ["m"], "rows": [{"source": "model", "values": [value]}]}]}
    hit = {"picture": None, "text": "h", "score": 0.5, "correct": True}
    gallery = {"kind": "gallery", "title": "t",
               "queries": [{"group": "g", "picture": picture, "text": "q", "truth": "u", "hits": [hit]}]}
    confusion = {"kind": "confusion", "title": "t", "caption": "", "class_names": ["a", "b"], "cells": [[0, 1, 5]]}
    examples = {"kind": "examples", "title": "t", "caption": "",
                "examples": [example | {"truth": "u", "produced": "p", "score": None, "correct": False, "maps": [picture]}]}
    box = {"sides": [0, 0.25, 0.5, 1], "text": "cat", "is_truth": True, "correct": False, "score": 0.125}
    boxes = {"kind": "boxes", "title": "t", "caption": "", "examples": [example | {"boxes": [box]}]}
    results = {"format": "triptych-evaluation", "version": 1, "step": 7, "checkpoint": "c", "time": "2026-03-01T12:00:00Z",
               "metrics": {"unseen: recall@1": 0.5}, "facts": {"parameters": "7"}, "meanings": {"unseen": "new"},
               "panels": [table, gallery, confusion, examples, boxes]}
    rank = {"rank": 0, "host": "h", "place": "pp 0", "steps": 5, "steps_s": 1.5, "loader_wait_s": 0.5, "cpu_s": 2,
            "rss_mb": 64, "peer_wait_s": None}
    status = {"format": "triptych-status", "version": 1, "state": "running", "step": 5, "last_step": 9, "message": "",
              "started": "2026-03-01T12:00:00Z", "updated": "", "program": "0.1.0", "facts": {"mesh": "pp 2"}, "ranks": [rank]}
    planned = status | {"ranks": [rank | {"pool_peak_mb": 48.5}],
                        "planned": {"cluster": "2 x GPU", "step_ms": 12.5, "wait_ms": 0.25, "peak_mb": 47}}
    return {"results": json.dumps(results).encode(), "status": json.dumps(status).encode(),
            "planned": json.dumps(planned).encode()}


def tar():
    def file(mode, format, names):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode, format=format) as out:
            for name, data in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                out.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()

    names = [("a/0.jpg", b"picture"), ("a/0.txt", b"a caption"), ("a/0.cls", b"3"), ("1.json", b'{"caption": "x"}')]
    return {"ustar": file("w", tarfile.USTAR_FORMAT, names), "gnu": file("w", tarfile.GNU_FORMAT, names + [("x" * 120, b"")]),
            "pax": file("w", tarfile.PAX_FORMAT, names + [("\u00e9" * 60 + ".txt", b"y")]),
            "gzip": file("w:gz", tarfile.USTAR_FORMAT, names), "json": b'{"captions": ["a", "b"], "url": null}'}


def csv():
    return {"plain": b"filepath,title\na.jpg,a caption\n", "quoted": b'\xef\xbb\xbfx,"y, ""z"""\r\n"1\n2",3\r\n',
            "tabs": b"filepath\ttitle\na.jpg\t\"b\tc\"\n"}


def coco():
    text = json.dumps({"info": {}, "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 3}],
                       "annotations": [{"image_id": 1, "caption": "a"},
                                       {"image_id": 1, "category_id": 2, "bbox": [0.5, 1, 2, 1], "iscrowd": 0,
                                        "segmentation": [[1, 2]]}],
                       "categories": [{"id": 2, "name": "dog"}]})
    row = b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in
                   ((b"I", b"picture"), (b"C", b"a caption"), (b"L", b"3"), (b"R", b""), (b"E", b"")))
    return {"coco": text.encode(), "frames": row}


def tokenizer():
    return {"words": b"a red square", "more": "Ein WEISSES  Kreuz, 赤い ﬁ ½ \u200b\u2581".encode(), "not_utf8": b"a \xff\xfe"}


def tokenizer_file():
    """A tokenizer.json for each model, with most stages between them; merges of CLIP; a SentencePiece model without tables."""
    special = [{"id": 0, "content": "[UNK]", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True},
               {"id": 9, "content": "[MASK]", "single_word": True, "lstrip": True, "rstrip": True, "normalized": True, "special": True}]
    letters = {"[UNK]": 0, "a": 1, "b": 2, "re": 3, "r": 4, "e": 5, "##e": 6, "d</w>": 7, "<0xE8>": 8}
    split = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+(?!\S)"}, "behavior": "Isolated", "invert": False}
    roberta = {"type": "RobertaProcessing", "sep": ["[UNK]", 0], "cls": ["a", 1], "trim_offsets": True, "add_prefix_space": False}
    template = {"type": "TemplateProcessing", "pair": [], "single": [{"SpecialToken": {"id": "a", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"a": {"id": "a", "ids": [1], "tokens": ["a"]}}}

    def steps(key, *names, of="type"):
        return {"type": "Sequence", key: [name if isinstance(name, dict) else {of: name} for name in names]}

    def file(model, normalizer, pre_tokenizer, post_processor, decoder, **more):
        return json.dumps({"version": "1.0", "added_tokens": special, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
                           "post_processor": post_processor, "decoder": decoder, "model": model} | more).encode()

    charsmap = base64.b64encode(struct.pack("<I", 1024) + bytes(1024) + b"a\0").decode()
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    pieces = b"".join(b"\x0a" + bytes([len(m)]) + m for m in (
        b"\x0a\x05<unk>\x15\0\0\0\0\x18\x02", b"\x0a\x03<s>\x18\x03", b"\x0a\x04</s>\x18\x03", b"\x0a\x01a\x15\0\0\x80\xbf",
        b"\x0a\x03\xe2\x96\x81\x15\0\0\0\xc0"))
    merges = b'"bpe_simple_vocab_16e6.txt#version: 0.2\nr e\nre d</w>\na p'
    return {
        "bpe.json": file({"type": "BPE", "vocab": letters, "merges": ["r e"], "unk_token": "[UNK]", "byte_fallback": True, "fuse_unk": True},
                         steps("normalizers", "NFD", "StripAccents", "Lowercase", "Nmt", replace), steps("pretokenizers", split, "ByteLevel"),
                         roberta, steps("decoders", "ByteFallback", "Fuse", strip)),
        "word_piece.json": file({"type": "WordPiece", "vocab": letters, "unk_token": "[UNK]"}, {"type": "BertNormalizer"}, {"type": "BertPreTokenizer"},
                                template, {"type": "WordPiece"}, padding={"pad_id": 2}, truncation={"max_length": 4}),
        "unigram.json": file({"type": "Unigram", "vocab": [["[UNK]", 0], ["a", -1], ["\u2581", -2.5], ["re", -3], ["d", -1e-3], ["e", -4], ["r", -5], ["1", -6],
                                                           ["x", -7]], "unk_id": 0},
                             steps("normalizers", {"type": "Precompiled", "precompiled_charsmap": charsmap}, "NFKC", {"type": "Prepend", "prepend": "x"}),
                             steps("pretokenizers", "WhitespaceSplit", "Metaspace", "Digits", {"type": "Punctuation", "behavior": "Contiguous"}), None,
                             {"type": "Metaspace", "prepend_scheme": "first"}),
        "merges": merges, "merges.gz": gzip.compress(merges, mtime=0), "small.model": pieces + b"\x12\x02\x18\x01",
    }


def main(folder):
    for target in (coco, config, csv, index, pictures, lines, manifest, model_config, npy, run_files, safetensors, schedule,
                   shard, tar, tokenizer, tokenizer_file, url):
        name = {"pictures": "image"}.get(target.__name__, target.__name__)
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        for seed, data in target().items():
            (place / seed).write_bytes(data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
