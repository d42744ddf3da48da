"""Models that say what is where in a picture: masked patches, detection, grounding."""
import torch
from torch import nn

from .base import Model, image_encoder, taken
from .layers import Positions, Product, Stack, TextStack, first_norm, last_norm, lengths_mask


class DecoderEmbedding(Positions):
    """`decoder.embed` of masked patches: from what the encoder saw to the whole image's sequence."""

    def __init__(self, decoder, inputs, side, first):
        super().__init__(decoder, side * side + first, side)
        self.num_patches, self.first = side * side, first
        self.weight = nn.Parameter(torch.empty(decoder["width"], inputs))
        self.bias = nn.Parameter(torch.empty(decoder["width"]))
        self.mask_token = nn.Parameter(torch.empty(decoder["width"]))

    def forward(self, x, visible):
        x = nn.functional.linear(x, self.weight, self.bias)
        patches = self.mask_token.repeat(len(x), self.num_patches, 1)
        patches = patches.scatter(1, visible.long()[:, :, None].expand(-1, -1, x.shape[-1]), x[:, self.first:])
        return self.norm(self.placed(torch.cat([x[:, :self.first], patches], 1)))


class MaskedImage(Model):
    """masked_image: "reconstruction" [B, P, 3 patch patch] from `visible_patches` [B, M], their numbers."""

    def __init__(self, config):
        super().__init__(config)
        decoder, self.image = config["model"]["decoder"], image_encoder(config)
        sizes = self.image.sizes
        self.image.norm = last_norm(sizes)
        self.side = sizes["size"] // sizes["patch"]
        self.first = int(self.image.embed.class_token is not None)
        self.decoder = Stack(decoder)
        self.decoder.embed = DecoderEmbedding(decoder, sizes["width"], self.side, self.first)
        self.decoder.output = Product(3 * sizes["patch"] ** 2, decoder["width"])
        self.decoder.output.norm = last_norm(decoder)

    def forward(self, pixels, visible_patches):
        embed, first = self.image.embed, self.first
        x = embed.unnormed(pixels)
        x = torch.cat([x[:, :first], taken(x[:, first:], visible_patches)], 1)
        x = self.image.norm(self.image.run(embed.norm(x)))
        x = self.decoder.run(self.decoder.embed(x, visible_patches), side=self.side)
        return {"reconstruction": self.decoder.output(self.decoder.output.norm(x)[:, first:])}


class Boxes(nn.ModuleList):
    """Three products with GELU between, and a sigmoid of that and a place."""

    def __init__(self, width):
        super().__init__([Product(width, width), Product(width, width), Product(4, width)])

    def forward(self, x, places):
        gelu = nn.functional.gelu
        return torch.sigmoid(self[2](gelu(self[1](gelu(self[0](x))))) + places)


def patch_places(image):
    """[P, 4] before the sigmoid: centres of the patches, and a third of the picture's sides."""
    side = image["size"] // image["patch"]
    centre = torch.logit((torch.arange(side, dtype=torch.float64) + 0.5) / side)
    third = torch.logit(torch.full((side * side,), 1 / 3, dtype=torch.float64))
    return torch.stack([centre.repeat(side), centre.repeat_interleave(side), third, third], 1).float()


class Detector(Model):
    """detect: "class_logits" [B, Q, classes + 1], the last is nothing; "boxes" [B, Q, 4]: centre x, centre y, width,
    height, in shares of the sides."""

    def __init__(self, config):
        super().__init__(config)
        model = config["model"]
        decoder, self.image = model["decoder"], image_encoder(config)
        h, inputs, queries = decoder["width"], self.image.sizes["width"], model["queries"]
        self.image.norm = last_norm(self.image.sizes)
        self.decoder = Stack(decoder, inputs)
        self.of_patches = model["query_kind"] == "patches"
        self.decoder.embed = Product(h, inputs) if self.of_patches else nn.Module()
        if not self.of_patches:
            self.decoder.embed.queries = nn.Parameter(torch.empty(queries, h))
        self.decoder.embed.norm = first_norm(decoder)
        self.detect = nn.Module()
        head = self.detect.head = nn.Module()
        head.norm, head.box = last_norm(decoder), Boxes(h)
        head.add_module("class", Product(model["classes"] + 1, h))
        if self.of_patches:
            head.register_buffer("places", patch_places(self.image.sizes), persistent=False)
        else:
            head.places = nn.Parameter(torch.empty(queries, 4))

    def forward(self, pixels):
        memory, head, embed = self.image.norm(self.image(pixels)), self.detect.head, self.decoder.embed
        queries = embed(memory) if self.of_patches else embed.queries.expand(len(memory), -1, -1)
        x = head.norm(self.decoder.run(embed.norm(queries), memory=memory))
        return {"class_logits": getattr(head, "class")(x), "boxes": head.box(x, head.places)}


class Grounder(Model):
    """ground: "box" [B, 4], as boxes of `detect`, of what each text names."""

    def __init__(self, config):
        super().__init__(config)
        text, self.image = config["model"]["text"], image_encoder(config)
        h, inputs = text["width"], self.image.sizes["width"]
        self.image.norm = last_norm(self.image.sizes)
        self.text = TextStack(text, inputs)
        self.ground = nn.Module()
        head = self.ground.head = nn.Module()
        head.norm, head.box = last_norm(text), Boxes(h)
        head.query, head.key = Product(h, h, bias=False), Product(h, inputs, bias=False)
        head.register_buffer("places", patch_places(self.image.sizes), persistent=False)

    def forward(self, pixels, tokens, lengths):
        memory, head = self.image.norm(self.image(pixels)), self.ground.head
        x = self.text.run(self.text.embed(tokens), mask=lengths_mask(lengths, tokens.shape[1]), memory=memory)
        x = head.norm(x[:, 0])
        scores = (head.key(memory) @ head.query(x)[:, :, None])[..., 0] / x.shape[-1] ** 0.5
        return {"box": head.box(x, scores.softmax(-1) @ head.places)}
