"""The two-tower model from its definition, in double precision: losses, embeddings and gradients by differences.

usage: two_tower_oracle.py IN.safetensors OUT.safetensors

IN has the parameters by name, `pixels`, `tokens`, `lengths`, and for every parameter `elements/NAME`, flat indices. OUT
gets `loss`, `image_embedding`, `text_embedding` and `gradient/NAME`: the derivatives of the loss at those elements.

Written from the papers' equations (Dosovitskiy et al. 2021; Radford et al. 2021; Zhai et al. 2023), with plain loops
where they are clearer; it shares nothing with the program but the names of the parameters.
"""
import json
import math
import struct
import sys

import numpy as np

PIXEL_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32).astype(np.float64)
PIXEL_STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32).astype(np.float64)
DTYPES = {"F32": np.float32, "F64": np.float64, "U8": np.uint8, "I32": np.int32, "I64": np.int64}


def read_safetensors(path):
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        arrays[name] = np.frombuffer(data[begin:end], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata


def write_safetensors(path, arrays):
    header, data = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, np.float64).tobytes()
        header[name] = {"dtype": "F64", "shape": list(np.shape(array)), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


erf = np.vectorize(math.erf)


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def layer_norm(x, weights, name):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weights[name + ".weight"] + weights[name + ".bias"]


def attention(x, weights, name, num_heads, causal, lengths):
    """x [B, S, H]; `lengths` may be None: every key counts."""
    batch, sequence, width = x.shape
    dim = width // num_heads
    q, k, v = (x @ weights[name + ".qkv.weight"][i].T + weights[name + ".qkv.bias"][i] for i in range(3))
    out = np.zeros_like(x)
    for b in range(batch):
        seen = np.ones((sequence, sequence), bool)
        if causal:
            seen &= np.tril(seen)
        if lengths is not None:
            seen[:, lengths[b]:] = False
        for n in range(num_heads):
            head = slice(n * dim, (n + 1) * dim)
            scores = np.where(seen, q[b, :, head] @ k[b, :, head].T / math.sqrt(dim), -np.inf)
            p = np.exp(scores - scores.max(1, keepdims=True))
            out[b, :, head] = p / p.sum(1, keepdims=True) @ v[b, :, head]
    return out @ weights[name + ".out.weight"].T + weights[name + ".out.bias"]


def transformer_block(x, weights, name, num_heads, causal, lengths):
    x = x + attention(layer_norm(x, weights, name + ".attention.norm"), weights, name + ".attention", num_heads, causal,
                      lengths)
    h = layer_norm(x, weights, name + ".feed_forward.norm")
    h = gelu(h @ weights[name + ".feed_forward.in.weight"].T + weights[name + ".feed_forward.in.bias"])
    return x + h @ weights[name + ".feed_forward.out.weight"].T + weights[name + ".feed_forward.out.bias"]


def head(x, weights, name):
    y = layer_norm(x, weights, name + ".norm") @ weights[name + ".projection.weight"].T
    return y / np.sqrt((y ** 2).sum(-1, keepdims=True))


def num_layers(weights, tower):
    return len({name.split(".")[2] for name in weights if name.startswith(tower + ".blocks.")})


def image_embedding(weights, pixels, options):
    batch, size = pixels.shape[:2]
    patch = int(options["patch"])
    normalized = (pixels / 255 - PIXEL_MEAN) / PIXEL_STD
    patches = []
    for y in range(0, size, patch):
        for x in range(0, size, patch):
            piece = normalized[:, y:y + patch, x:x + patch, :]
            patches.append(piece.transpose(0, 3, 1, 2).reshape(batch, -1))  # channel, row, column
    x = np.stack(patches, 1) @ weights["image.embed.patch.weight"].T + weights["image.embed.patch.bias"]
    if options["pooling"] == "class":
        token = np.broadcast_to(weights["image.embed.class_token"], (batch, 1, x.shape[2]))
        x = np.concatenate([token, x], 1)
    x = x + weights["image.embed.positions"]
    for i in range(num_layers(weights, "image")):
        x = transformer_block(x, weights, f"image.blocks.{i}", int(options["image_heads"]), False, None)
    return head(x[:, 0] if options["pooling"] == "class" else x.mean(1), weights, "image.head")


def text_embedding(weights, tokens, lengths, options):
    x = weights["text.embed.tokens.weight"][tokens] + weights["text.embed.positions"]
    for i in range(num_layers(weights, "text")):
        x = transformer_block(x, weights, f"text.blocks.{i}", int(options["text_heads"]),
                              options["attention"] == "causal", lengths)
    return head(x[np.arange(len(lengths)), lengths - 1], weights, "text.head")


def log_softmax_diagonal(scores):
    top = scores.max(1)
    return np.diag(scores) - top - np.log(np.exp(scores - top[:, None]).sum(1))


def contrastive_loss(image, text, weights, options):
    batch = len(image)
    scores = math.exp(weights["objective.log_scale"][0]) * image @ text.T
    if options["objective"] == "infonce":
        return -(log_softmax_diagonal(scores).mean() + log_softmax_diagonal(scores.T).mean()) / 2
    sign = 2 * np.eye(batch) - 1
    return np.logaddexp(0, -sign * (scores + weights["objective.bias"][0])).sum() / batch


def main():
    arrays, options = read_safetensors(sys.argv[1])
    pixels, tokens, lengths = arrays.pop("pixels"), arrays.pop("tokens"), arrays.pop("lengths")
    elements = {name[len("elements/"):]: arrays.pop(name) for name in list(arrays) if name.startswith("elements/")}
    weights = {name: array.astype(np.float64) for name, array in arrays.items()}

    def image():
        return image_embedding(weights, pixels, options)

    def text():
        return text_embedding(weights, tokens, lengths, options)

    base_image, base_text = image(), text()
    out = {"loss": [contrastive_loss(base_image, base_text, weights, options)],
           "image_embedding": base_image, "text_embedding": base_text}
    h = 3e-5
    for name, indices in elements.items():
        flat = weights[name].reshape(-1)
        derivatives = []
        for index in indices:
            saved, at = flat[index], {}
            for steps in (-2, -1, 1, 2):
                flat[index] = saved + steps * h
                # A tower that the parameter is not in gives what it gave.
                at[steps] = contrastive_loss(image() if name.startswith("image.") else base_image,
                                             text() if name.startswith("text.") else base_text, weights, options)
            flat[index] = saved
            derivatives.append((8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * h))
        out["gradient/" + name] = derivatives
    write_safetensors(sys.argv[2], out)


if __name__ == "__main__":
    main()
