#!/usr/bin/env python3
"""The time of a training step in PyTorch on a CPU, of the models of configs/bench_vit_s16.toml and bench_captioner.toml.

usage: torch_step.py vit|captioner [--threads 1] [--steps 8] [--batch 16] [--amp none|bf16] [--compile]

  vit         ViT-S/16 at 224 px (Dosovitskiy et al. 2021; Touvron et al. 2021): 196 patches and a class token, width 384, 12
              blocks, 6 heads, feed-forward 1536, 1,000 classes
  captioner   an encoder-decoder of its size: 6 such blocks over the patches, and 6 that attend to them over texts of 64
              tokens, a vocabulary of 8,192 whose matrix is also the output's

Pre-norm blocks, exact GELU, PyTorch's fused attention, cross-entropy, AdamW (fused) without clipping: the steps that
`triptych bench step` times. To be run with the newest torch there is, alone on the machine, by turns with ours:

    build/release/triptych bench step configs/bench_vit_s16.toml
    python3 tests/benchmarks/peers/torch_step.py vit

Prints one line of JSON; step_ms as `triptych bench step` has it.
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional

IMAGE, PATCH, WIDTH, HEADS, INNER = 224, 16, 384, 6, 1536
PATCHES = (IMAGE // PATCH) ** 2
CLASSES, TOKENS, LENGTH = 1000, 8192, 64


class Attention(nn.Module):
    def __init__(self, is_across=False, is_causal=False):
        super().__init__()
        self.is_across, self.is_causal = is_across, is_causal
        self.q = nn.Linear(WIDTH, WIDTH) if is_across else None
        self.packed = nn.Linear(WIDTH, (2 if is_across else 3) * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, memory=None):
        packed = self.packed(memory if self.is_across else x).unflatten(-1, (-1, HEADS, WIDTH // HEADS))
        parts = packed.permute(2, 0, 3, 1, 4)
        if self.is_across:
            q, (k, v) = self.q(x).unflatten(-1, (HEADS, -1)).transpose(1, 2), parts
        else:
            q, k, v = parts
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, is_decoder):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(WIDTH), Attention(is_causal=is_decoder)
        self.across_norm, self.across = (nn.LayerNorm(WIDTH), Attention(is_across=True)) if is_decoder else (None, None)
        self.feed_forward_norm = nn.LayerNorm(WIDTH)
        self.feed_forward = nn.Sequential(nn.Linear(WIDTH, INNER), nn.GELU(), nn.Linear(INNER, WIDTH))

    def forward(self, x, memory=None):
        x = x + self.attention(self.attention_norm(x))
        if memory is not None:
            x = x + self.across(self.across_norm(x), memory)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Encoder(nn.Module):
    def __init__(self, layers, has_class_token):
        super().__init__()
        self.patches = nn.Linear(3 * PATCH * PATCH, WIDTH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH)) if has_class_token else None
        self.positions = nn.Parameter(torch.randn(1, PATCHES + has_class_token, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block(is_decoder=False) for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, pixels):
        side = IMAGE // PATCH
        x = pixels.view(-1, 3, side, PATCH, side, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(len(pixels), PATCHES, -1)
        x = self.patches(x)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1)
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return x if self.class_token is not None else self.norm(x)


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = Encoder(12, has_class_token=True), nn.Linear(WIDTH, CLASSES)

    def forward(self, pixels, labels, tokens):
        return functional.cross_entropy(self.head(self.encoder.norm(self.encoder(pixels)[:, 0])), labels)


class Captioner(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.tokens = Encoder(6, has_class_token=False), nn.Embedding(TOKENS, WIDTH)
        self.positions = nn.Parameter(torch.randn(1, LENGTH, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block(is_decoder=True) for _ in range(6))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, pixels, labels, tokens):
        memory, x = self.encoder(pixels), self.tokens(tokens) + self.positions
        for block in self.blocks:
            x = block(x, memory)
        scores = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(scores[:, :-1].reshape(-1, TOKENS), tokens[:, 1:].reshape(-1))


def product_flops(model, batch):
    """Of a step's matrix products: 2 m n k each, a backward as two forwards; pixels have no gradient."""
    def stack(layers, tokens, memory=0):
        own = 2 * 4 * WIDTH**2 * tokens + 4 * tokens**2 * WIDTH + 2 * 2 * WIDTH * INNER * tokens
        across = 4 * WIDTH**2 * (tokens + memory) + 4 * tokens * memory * WIDTH if memory else 0
        return layers * (own + across)

    patches = 2 * 3 * PATCH**2 * WIDTH * PATCHES
    if model == "vit":
        rest = stack(12, PATCHES + 1) + 2 * WIDTH * CLASSES
    else:
        rest = stack(6, PATCHES) + stack(6, LENGTH, PATCHES) + 2 * WIDTH * TOKENS * LENGTH
    return batch * (2 * patches + 3 * rest)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=["vit", "captioner"])
    for name, value in (("threads", 1), ("steps", 8), ("warmup", 2), ("batch", 16)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--amp", choices=["none", "bf16"], default="none")
    parser.add_argument("--compile", action="store_true", help="torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = Vit() if options.model == "vit" else Captioner()
    step = torch.compile(model) if options.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    pixels = torch.randn(options.batch, 3, IMAGE, IMAGE)
    labels, tokens = torch.randint(CLASSES, (options.batch,)), torch.randint(TOKENS, (options.batch, LENGTH))
    times, losses = [], []
    for _ in range(options.warmup + options.steps):
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=options.amp == "bf16"):
            loss = step(pixels, labels, tokens)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    timed, flops = sorted(times[options.warmup:]), product_flops(options.model, options.batch)
    milliseconds = {name: timed[int(share * (len(timed) - 1))] * 1e3 for name, share in
                    (("min", 0), ("p25", 0.25), ("median", 0.5), ("max", 1))}
    print(json.dumps({"model": options.model, "torch": torch.__version__, "threads": options.threads, "batch": options.batch,
                      "amp": options.amp, "parameters": sum(one.numel() for one in model.parameters()),
                      "gflop_per_step": flops / 1e9, "step_ms": milliseconds, "gflops_best": flops / timed[0] / 1e9,
                      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                      "first_loss": losses[0], "last_loss": losses[-1]}))


if __name__ == "__main__":
    main()
