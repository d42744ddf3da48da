"""Models in which a picture and a text are fused: answers, alignment."""
import torch
from torch import nn

from .base import Model, Scale, end_tokens, image_encoder, taken
from .layers import Head, Product, Stack, TextStack, first_norm, last_norm, lengths_mask
from .texts import MaskedTokenOutput, connector_of


class Entry(nn.Module):
    """`fusion.<modality>`: to the fusion's width; what a sample lacks is a learned vector."""

    def __init__(self, sizes, inputs, is_gated):
        super().__init__()
        if inputs != sizes["width"]:
            self.projection = Product(sizes["width"], inputs)
        self.absent = nn.Parameter(torch.empty(sizes["width"]))
        self.norm = nn.Identity() if is_gated else first_norm(sizes)

    def forward(self, x, present):
        x = self.projection(x) if hasattr(self, "projection") else x
        return self.norm(x if present is None else torch.where(present.bool()[:, None, None], x, self.absent))


class Segment(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.segments = nn.Parameter(torch.empty(1, width))


class Fusion(nn.Module):
    """`fusion`: an image's memory and a text's become one vector [B, H]."""

    def __init__(self, fusion, image_width, text_width):
        super().__init__()
        self.sizes, self.kind, h = fusion, fusion["kind"], fusion["width"]
        self.image = Entry(fusion, image_width, self.kind == "gated")
        self.text = Entry(fusion, text_width, self.kind == "gated")
        self.both_ways = self.kind == "cross_attention" and fusion["attention"] == "both_ways"
        if self.kind == "gated":
            self.gate = Product(h, 2 * h)
            self.gate.image, self.gate.text = Product(h, h), Product(h, h)
            return
        if self.kind == "concatenation":
            self.image_modality, self.text_modality = Segment(h), Segment(h)
            self.blocks = Stack(fusion).blocks
        else:
            self.text.blocks = Stack(fusion, h).blocks
        if self.both_ways:
            self.image.blocks = Stack(fusion, h).blocks
            self.image_memory = nn.ModuleList([last_norm(fusion) for _ in self.image.blocks])
            self.text_memory = nn.ModuleList([last_norm(fusion) for _ in self.image.blocks])
        self.pool = Product(h, h * (1 + self.both_ways))
        self.pool.norm = last_norm(fusion)
        if self.both_ways:
            self.pool.image_norm = last_norm(fusion)

    def forward(self, image, text, lengths, image_present=None, text_present=None):
        """The vector, and what was made of the text's tokens (None of a gated fusion)."""
        image, text = self.image(image, image_present), self.text(text, text_present)
        if self.kind == "gated":
            i, t = image.mean(1), text[:, 0]
            of_image, of_text = self.gate.image(i).tanh(), self.gate.text(t).tanh()
            return of_text + (of_image - of_text) * torch.sigmoid(self.gate(torch.cat([i, t], 1))), None
        before = image.shape[1]
        rotary = Stack.angles
        if self.kind == "concatenation":
            x = torch.cat([image + self.image_modality.segments[0], text + self.text_modality.segments[0]], 1)
            mask, angles = lengths_mask(lengths, x.shape[1], before), rotary(self, x)
            for block in self.blocks:
                x = block(x, mask=mask, angles=angles)
            return self.pool(self.pool.norm(x[:, before])).tanh(), x[:, before:]
        mask, angles, of_image = lengths_mask(lengths, text.shape[1]), rotary(self, text), rotary(self, image)
        for i, block in enumerate(self.text.blocks):
            text = block(text, mask=mask, angles=angles, memory=self.image_memory[i](image) if self.both_ways else image)
            if self.both_ways:
                image = self.image.blocks[i](image, angles=of_image, memory=self.text_memory[i](text), memory_mask=mask)
        x = self.pool.norm(text[:, 0])
        if self.both_ways:
            x = torch.cat([x, self.pool.image_norm(image).mean(1)], 1)
        return self.pool(x).tanh(), text


class Multimodal(Model):
    """What `answer` and `align` share: both encoders, a connector and the fusion."""

    def __init__(self, config):
        super().__init__(config)
        model, text = config["model"], config["model"]["text"]
        fusion, connector = model["fusion"], model["connector"]
        self.image, self.text = image_encoder(config), TextStack(text)
        self.image.norm, self.text.norm = last_norm(self.image.sizes), last_norm(text)
        self.connector, width = connector_of(connector, connector["kind"], fusion, self.image.sizes["width"])
        self.fusion = Fusion(fusion, width, text["width"])

    def streams(self, pixels, tokens, lengths):
        return self.image(pixels), self.text.run(self.text.embed(tokens), mask=lengths_mask(lengths, tokens.shape[1]))

    def fused(self, image, text, lengths, image_present, text_present):
        image = self.image.norm(image)
        image = image if self.connector is None else self.connector(image)
        return self.fusion(image, self.text.norm(text), lengths, image_present, text_present)


class Answerer(Multimodal):
    """answer: "logits" [B, answers]. `image_present` and `text_present` [B] say what a sample lacks."""

    def __init__(self, config):
        super().__init__(config)
        self.answer = nn.Module()
        self.answer.head = Product(config["model"]["answers"], config["model"]["fusion"]["width"])

    def forward(self, pixels, tokens, lengths, image_present=None, text_present=None):
        image, text = self.streams(pixels, tokens, lengths)
        return {"logits": self.answer.head(self.fused(image, text, lengths, image_present, text_present)[0])}


class Aligner(Multimodal):
    """align: both embeddings, "matching_scores" [B, 2], and "logits" at `masked_positions` where they are given."""

    def __init__(self, config):
        super().__init__(config)
        model, text, fusion = config["model"], config["model"]["text"], config["model"]["fusion"]
        self.image.head = Head(self.image.sizes, model["embedding"], last_norm(self.image.sizes))
        self.text.head = Head(text, model["embedding"], last_norm(text))
        self.matching = nn.Module()
        self.matching.head = Product(2, fusion["width"])
        self.objective = Scale(config["objective"])
        if config["objective"]["masked_weight"] > 0:
            self.text.output = MaskedTokenOutput(fusion, text["vocabulary"], is_tied=True, transforms=True)

    def forward(self, pixels, tokens, lengths, image_present=None, text_present=None, masked_positions=None):
        image, text = self.streams(pixels, tokens, lengths)
        vector, states = self.fused(image, text, lengths, image_present, text_present)
        out = {"image_embedding": self.image.head(image.mean(1)), "text_embedding": self.text.head(end_tokens(text, lengths)),
               "matching_scores": self.matching.head(vector)}
        if masked_positions is not None and hasattr(self.text, "output"):
            out["logits"] = self.text.output(taken(states, masked_positions), self.text.embed.tokens)
        return out
