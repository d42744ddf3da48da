"""Models of texts: masked tokens, and language models with the pictures that are connected to them."""
import torch
from torch import nn

from .base import Model, image_encoder, taken
from .layers import Block, Norm, Product, Stack, TextStack, TokenOutput, causal_mask, last_norm, lengths_mask


class MaskedTokenOutput(TokenOutput):
    """`text.output` of masked tokens, BERT's: a product, GELU and a norm before the scores, and a bias of each token."""

    def __init__(self, sizes, vocabulary, is_tied, transforms):
        super().__init__(sizes | {"vocabulary": vocabulary}, is_tied)
        if transforms:
            self.transform = Product(sizes["width"], sizes["width"])
            self.transform.norm = Norm(sizes)
        self.bias = nn.Parameter(torch.empty(vocabulary)) if transforms else None

    def forward(self, x, table):
        x = self.norm(x)
        if self.bias is not None:
            x = self.transform.norm(nn.functional.gelu(self.transform(x)))
        scores = (getattr(self, "tokens", None) or table)(x)
        return scores if self.bias is None else scores + self.bias


class MaskedText(Model):
    """masked_text: "logits" [B, T, V] at every place; with `masked_positions` [B, K] at these alone, [B, K, V].
    Where the tokenizer has no mask token, it is V - 1."""

    def __init__(self, config):
        super().__init__(config)
        model, text = config["model"], config["model"]["text"]
        self.text = TextStack(text)
        self.text.output = MaskedTokenOutput(text, text["vocabulary"], model["tied_output"], model["transform_output"])

    def forward(self, tokens, lengths, masked_positions=None):
        x = self.text.run(self.text.embed(tokens), mask=lengths_mask(lengths, tokens.shape[1]))
        if masked_positions is not None:
            x = taken(x, masked_positions)
        return {"logits": self.text.output(x, self.text.embed.tokens)}


class Mlp(nn.Module):
    def __init__(self, width, inputs):
        super().__init__()
        self.add_module("in", Product(width, inputs))
        self.out = Product(width, width)

    def forward(self, x):
        return self.out(nn.functional.gelu(getattr(self, "in")(x)))


class Resampler(Stack):
    """Learned queries that attend to a sequence, in blocks of the kind that reads them."""

    def __init__(self, connector, reader, memory_width):
        super().__init__(reader | {"layers": connector["layers"], "positions": "none"}, memory_width)
        self.queries = nn.Parameter(torch.empty(connector["queries"], reader["width"]))
        self.norm = last_norm(reader)

    def forward(self, memory):
        return self.norm(self.run(self.queries.expand(len(memory), -1, -1), memory=memory))


def connector_of(connector, kind, reader, memory_width):
    """What brings an image's memory to its reader, and how wide it is then; None: nothing."""
    makes = {"linear": lambda: Product(reader["width"], memory_width), "mlp": lambda: Mlp(reader["width"], memory_width),
             "resampler": lambda: Resampler(connector, reader, memory_width)}
    return (makes[kind](), reader["width"]) if kind in makes else (None, memory_width)


class Language(Model):
    """language: "logits" [B, T, V] of the token after each, with a picture in front of the text, between its blocks, or
    with none."""

    def __init__(self, config):
        super().__init__(config)
        model, text = config["model"], config["model"]["text"]
        connector = model["connector"]
        self.is_gated = connector["kind"] == "gated_cross_attention"
        kind = connector["kind"] if not self.is_gated else "resampler" if connector["resample"] else "none"
        self.has_pictures = self.is_gated or kind != "none"
        self.connector = self.gated = None
        if self.has_pictures:
            self.image = image_encoder(config)
            self.image.norm = last_norm(self.image.sizes)
            self.connector, width = connector_of(connector, kind, text, self.image.sizes["width"])
        self.text = TextStack(text)
        if self.is_gated:
            self.every = connector["every"]
            sizes = text | {"norm_position": "pre"}
            count = -(-text["layers"] // self.every)
            self.gated = nn.Module()
            self.gated.blocks = nn.ModuleList([Block(sizes, memory_width=width, self_attention=False, has_gates=True)
                                               for _ in range(count)])
        self.text.output = TokenOutput(text, model["tied_output"])

    def forward(self, tokens, lengths=None, pixels=None):
        picture = None
        if self.has_pictures:
            picture = self.image.norm(self.image(pixels))
            picture = picture if self.connector is None else self.connector(picture)
        x = self.text.embed(tokens)
        if self.has_pictures and not self.is_gated:
            x = torch.cat([picture, x], 1)
        mask, angles = causal_mask(x.shape[1], x.device), self.text.angles(x)
        for i, block in enumerate(self.text.blocks):
            if self.is_gated and i % self.every == 0:
                x = self.gated.blocks[i // self.every](x, memory=picture)
            x = block(x, mask=mask, angles=angles)
        return {"logits": self.text.output(x[:, -tokens.shape[1]:], self.text.embed.tokens)}
