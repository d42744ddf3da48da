"""The models of docs/models.md, one class a task. `forward` takes a batch's fields by name and gives the slots that the task ends with."""
import torch
from torch import nn

from .errors import FormatError
from .layers import (AttentionPool, Block, Head, ImageEncoder, Norm, Positions, Product, Stack, TextStack, TokenOutput, causal_mask,
                     first_norm, last_norm, lengths_mask)


class Scale(nn.Module):
    """`objective`: what similarities are multiplied by, as a logarithm, and the bias of the sigmoid loss."""

    def __init__(self, objective):
        super().__init__()
        self.log_scale = nn.Parameter(torch.empty(1))
        self.bias = nn.Parameter(torch.empty(1)) if objective["kind"] == "sigmoid" else None


class Model(nn.Module):
    """A model with what its inputs are made by; see `triptych.load`.

    config      the run's effective configuration, a dict
    pictures    makes `pixels` of pictures; None of a model of texts alone
    tokenizer   makes `tokens` and `lengths` of texts; None of a model of pictures alone
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.pictures = self.tokenizer = None

    def pixels(self, pictures):
        """uint8 [B, size, size, 3] of a list of paths, bytes of files or PIL images."""
        if self.pictures is None:
            raise TypeError(f"a model of the task {self.config['task']!r} sees no pictures")
        return torch.from_numpy(self.pictures(pictures)).to(self._device())

    def texts(self, texts):
        """{"tokens": int32 [B, T], "lengths": int32 [B]} of a list of texts."""
        if self.tokenizer is None:
            raise TypeError(f"a model of the task {self.config['task']!r} reads no texts")
        tokens, lengths = self.tokenizer(texts, self.config["model"]["text"]["length"])
        return {"tokens": torch.from_numpy(tokens).to(self._device()), "lengths": torch.from_numpy(lengths).to(self._device())}

    def _device(self):
        return next(self.parameters()).device


def pooled(image, x):
    """The whole image's state before the head's norm; `image` has a `pool` where attention pools."""
    kind = image.sizes.get("pooling", "mean")
    if kind == "attention":
        return image.pool(x)[:, 0]
    return x[:, 0] if kind == "class" else x.mean(1)


def add_pool(image):
    """What the head's norm is, and the block in front of the head, if there is one."""
    if image.sizes.get("pooling") != "attention":
        return last_norm(image.sizes)
    image.pool = AttentionPool(image.sizes, 1, is_head=True)
    return nn.Identity()


def image_encoder(config):
    image = config["model"]["image"]
    return ImageEncoder(image, image.get("pooling") == "class" or image.get("class_token", False))


def end_tokens(x, lengths):
    return x[torch.arange(len(x), device=x.device), lengths.long() - 1]


class TwoTowers(Model):
    """contrastive: "image_embedding", "text_embedding", of unit length; similarities are their products times `scale()`."""

    def __init__(self, config):
        super().__init__(config)
        embedding, text = config["model"]["embedding"], config["model"]["text"]
        self.image, self.text = image_encoder(config), TextStack(text)
        self.image.head = Head(self.image.sizes, embedding, add_pool(self.image))
        self.text.head = Head(text, embedding, last_norm(text))
        self.objective = Scale(config["objective"])
        self.is_causal, self.reads_padding = text.get("attention") == "causal", text.get("padding") == "read"

    def encode_image(self, pixels):
        return self.image.head(pooled(self.image, self.image(pixels)))

    def encode_text(self, tokens, lengths):
        mask = None if self.reads_padding else lengths_mask(lengths, tokens.shape[1])
        if self.is_causal:
            causal = causal_mask(tokens.shape[1], tokens.device)
            mask = causal if mask is None else mask & causal
        x = self.text.run(self.text.embed(tokens), mask=mask)
        return self.text.head(x[:, -1] if self.reads_padding else end_tokens(x, lengths))

    def scale(self):
        """One over the temperature."""
        return self.objective.log_scale.exp()

    def forward(self, pixels=None, tokens=None, lengths=None):
        out = {}
        if pixels is not None:
            out["image_embedding"] = self.encode_image(pixels)
        if tokens is not None:
            out["text_embedding"] = self.encode_text(tokens, lengths)
        return out


class Classifier(Model):
    """classify: "logits" [B, classes]."""

    def __init__(self, config):
        super().__init__(config)
        self.image, self.classify = image_encoder(config), nn.Module()
        norm, width = add_pool(self.image), self.image.sizes["width"]
        self.classify.head = Product(config["model"]["classes"], width)
        self.classify.head.norm = norm

    def forward(self, pixels):
        head = self.classify.head
        return {"logits": head(head.norm(pooled(self.image, self.image(pixels))))}


class Captioner(Model):
    """caption: "logits" [B, T, V] of the token after each; "memory", what the decoder attends to."""

    def __init__(self, config):
        super().__init__(config)
        text = config["model"]["text"]
        self.image = image_encoder(config)
        self.image.norm = last_norm(self.image.sizes)
        self.text = TextStack(text, self.image.sizes["width"])
        self.text.output = TokenOutput(text, is_tied=True)

    def forward(self, pixels, tokens, lengths=None):
        memory = self.image.norm(self.image(pixels))
        x = self.text.run(self.text.embed(tokens), mask=causal_mask(tokens.shape[1], tokens.device), memory=memory)
        return {"memory": memory, "logits": self.text.output(x, self.text.embed.tokens)}


class Coca(Model):
    """coca: both embeddings, and "logits" [B, T, V]."""

    def __init__(self, config):
        super().__init__(config)
        model = config["model"]
        text = model["text"]
        self.image, self.text = image_encoder(config), TextStack(text)
        sizes = self.image.sizes
        self.image.head = Head(sizes, model["embedding"], Norm(sizes))
        self.image.head.pool = AttentionPool(sizes, 1)
        self.image.pool = AttentionPool(sizes, model["pool_queries"])
        self.text.head = Head(text, model["embedding"], last_norm(text))
        self.multimodal = Stack(text | {"layers": model["multimodal_layers"]}, sizes["width"])
        self.text.output = TokenOutput(text, is_tied=False)
        self.objective = Scale(config["objective"])

    def scale(self):
        """One over the temperature."""
        return self.objective.log_scale.exp()

    def _text(self, tokens):
        return self.text.run(self.text.embed(tokens), mask=causal_mask(tokens.shape[1], tokens.device))

    def encode_image(self, pixels):
        head = self.image.head
        return head(head.pool(self.image(pixels))[:, 0])

    def encode_text(self, tokens, lengths):
        return self.text.head(end_tokens(self._text(tokens), lengths))

    def forward(self, pixels, tokens, lengths):
        image, text = self.image(pixels), self._text(tokens)
        head, mask = self.image.head, causal_mask(tokens.shape[1], tokens.device)
        x = self.multimodal.run(text, mask=mask, memory=self.image.pool(image))
        return {"image_embedding": head(head.pool(image)[:, 0]), "text_embedding": self.text.head(end_tokens(text, lengths)),
                "logits": self.text.output(x, None)}


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
    """masked_text: "logits" [B, T, V] at every place; with `masked_positions` [B, K] at these alone, [B, K, V]. The mask token is V - 1."""

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


def taken(x, places):
    """Rows of each sample's sequence, of a negative place any."""
    return x.gather(1, places.long().clamp_min(0)[:, :, None].expand(-1, -1, x.shape[-1]))


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
    """language: "logits" [B, T, V] of the token after each, with a picture in front of the text, between its blocks, or with none."""

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
    """detect: "class_logits" [B, Q, classes + 1], the last is nothing; "boxes" [B, Q, 4]: centre x, y, width, height, in shares."""

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


TASKS = {"contrastive": TwoTowers, "classify": Classifier, "caption": Captioner, "coca": Coca, "masked_image": MaskedImage,
         "masked_text": MaskedText, "answer": Answerer, "align": Aligner, "detect": Detector, "ground": Grounder, "language": Language}


def model_of(config):
    """A model of the config's task, its parameters not yet set."""
    task = config.get("task", "contrastive")
    if task not in TASKS:
        raise FormatError("task", f"must be one of {', '.join(TASKS)}, found {task!r}. A task of another program has its own model")
    return TASKS[task](config)
