"""The parts of the models: docs/models.md, "Blocks" and "Encoders". Names of parameters are those of checkpoints."""
import torch
import torch.nn.functional as F
from torch import nn

MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's


def unit(x):
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)


class Product(nn.Module):
    """x W^T + b, of one matrix [outputs, inputs], or of several side by side [parts, outputs, inputs]."""

    def __init__(self, *shape, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*shape))
        self.bias = nn.Parameter(torch.empty(*shape[:-1])) if bias else None

    def forward(self, x):
        """[..., outputs], or [..., parts, outputs]."""
        bias = None if self.bias is None else self.bias.flatten()
        y = F.linear(x, self.weight.flatten(0, -2), bias)
        return y if self.weight.dim() == 2 else y.unflatten(-1, self.weight.shape[:-1])


def has_biases(sizes):
    """Of the products of blocks; configs of before there was the key have them."""
    return sizes.get("biases", True)


class Norm(nn.Module):
    def __init__(self, sizes):
        super().__init__()
        self.epsilon = sizes["norm_epsilon"]
        self.weight = nn.Parameter(torch.empty(sizes["width"]))
        self.bias = nn.Parameter(torch.empty(sizes["width"])) if sizes["norm"] == "layer" else None

    def forward(self, x):
        if self.bias is not None:
            return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


def last_norm(sizes):
    """Behind the last block: post-norm blocks leave none to do."""
    return nn.Identity() if sizes["norm_position"] == "post" else Norm(sizes)


def first_norm(sizes):
    return Norm(sizes) if sizes["input_norm"] else nn.Identity()


def attend(q, k, v, mask):
    """[B, S, N, D] each; mask: bool [B or 1, 1, S or 1, T], True where a key is seen, or None."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


def rotated(x, angles):
    """x [B, S, N, D], angles [S, D / 2]."""
    low, high = x.chunk(2, -1)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.cat([low * cos - high * sin, high * cos + low * sin], -1)


def waves(base, count):
    return base ** (-torch.arange(count, dtype=torch.float64) / count)


def cells(sequence, side):
    """Row and column of a grid's tokens; those in front of the patches stand at (0, 0)."""
    patch = torch.arange(sequence) - (sequence - side * side)
    place = patch.clamp_min(0)
    return (place // side).double(), (place % side).double(), patch >= 0


def rotary_angles(sizes, sequence, side):
    half = sizes["width"] // sizes["heads"] // 2
    if not side:
        return (torch.arange(sequence).double()[:, None] * waves(sizes["rotary_base"], half)).float()
    row, column, _ = cells(sequence, side)
    steps = waves(sizes["rotary_base"], half // 2)
    return torch.cat([row[:, None] * steps, column[:, None] * steps], 1).float()


def sinusoids(width, sequence, side):
    if not side:
        angles = torch.arange(sequence).double()[:, None] * waves(10000, width // 2)
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).float()
    row, column, in_grid = cells(sequence, side)
    steps = waves(10000, width // 4)
    x, y = column[:, None] * steps, row[:, None] * steps
    return (torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], 1) * in_grid[:, None]).float()


class Part(nn.Module):
    """A part of a block, with its norm, and its gate where the block has gates."""

    def __init__(self, sizes, has_gate):
        super().__init__()
        self.norm = Norm(sizes)
        self.gate = nn.Parameter(torch.empty(1)) if has_gate else None
        self.is_post = sizes["norm_position"] == "post"

    def add_to(self, x, **context):
        if self.is_post:
            return self.norm(x + self(x, **context))
        branch = self(self.norm(x), **context)
        return x + (branch if self.gate is None else self.gate.tanh() * branch)


class SelfAttention(Part):
    def __init__(self, sizes, has_gate=False):
        super().__init__(sizes, has_gate)
        h, self.heads, bias = sizes["width"], sizes["heads"], has_biases(sizes)
        self.kv_heads = sizes["kv_heads"] or self.heads
        if self.kv_heads == self.heads:
            self.qkv = Product(3, h, h, bias=bias)
        else:
            self.q, self.kv = Product(h, h, bias=bias), Product(2, self.kv_heads * (h // self.heads), h, bias=bias)
        self.out = Product(h, h, bias=bias)

    def forward(self, x, mask=None, angles=None, **_):
        if self.kv_heads == self.heads:
            q, k, v = (each.unflatten(-1, (self.heads, -1)) for each in self.qkv(x).unbind(-2))
        else:
            q = self.q(x).unflatten(-1, (self.heads, -1))
            k, v = (each.unflatten(-1, (self.kv_heads, -1)) for each in self.kv(x).unbind(-2))
        if angles is not None:
            q, k = rotated(q, angles), rotated(k, angles)
        if self.kv_heads != self.heads:
            k, v = (each.repeat_interleave(self.heads // self.kv_heads, 2) for each in (k, v))
        return self.out(attend(q, k, v, mask))


def cross_attend(of, x, memory, mask=None):
    """`of` has the products q, kv and out, and heads."""
    q = of.q(x).unflatten(-1, (of.heads, -1))
    k, v = (each.unflatten(-1, (of.heads, -1)) for each in of.kv(memory).unbind(-2))
    return of.out(attend(q, k, v, mask))


class CrossAttention(Part):
    def __init__(self, sizes, memory_width, has_gate=False):
        super().__init__(sizes, has_gate)
        h, self.heads, bias = sizes["width"], sizes["heads"], has_biases(sizes)
        self.q, self.kv, self.out = Product(h, h, bias=bias), Product(2, h, memory_width, bias=bias), Product(h, h, bias=bias)

    def forward(self, x, memory=None, memory_mask=None, **_):
        return cross_attend(self, x, memory, memory_mask)


ACTIVATIONS = {"gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
               "gelu_quick": lambda x: x * torch.sigmoid(1.702 * x)}


class FeedForward(Part):
    def __init__(self, sizes, has_gate=False):
        super().__init__(sizes, has_gate)
        h, f, self.activation = sizes["width"], sizes["feed_forward"], sizes["activation"]
        bias = has_biases(sizes)
        self.add_module("in", Product(2, f, h, bias=bias) if self.activation == "swiglu" else Product(f, h, bias=bias))
        self.out = Product(h, f, bias=bias)

    def forward(self, x, **_):
        y = getattr(self, "in")(x)
        if self.activation != "swiglu":
            return self.out(ACTIVATIONS[self.activation](y))
        gate, up = y.unbind(-2)
        return self.out(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, sizes, memory_width=0, self_attention=True, has_gates=False):
        super().__init__()
        if self_attention:
            self.attention = SelfAttention(sizes, has_gates)
        if memory_width:
            self.cross_attention = CrossAttention(sizes, memory_width, has_gates)
        self.feed_forward = FeedForward(sizes, has_gates)

    def forward(self, x, **context):
        for part in self.children():
            x = part.add_to(x, **context)
        return x


def blocks(sizes, **options):
    return nn.ModuleList([Block(sizes, **options) for _ in range(sizes["layers"])])


def causal_mask(sequence, device):
    return torch.ones(sequence, sequence, dtype=torch.bool, device=device).tril()[None, None]


def lengths_mask(lengths, sequence, before=0):
    """Keys below a sample's length, and the `before` that stand in front of them."""
    return (torch.arange(sequence, device=lengths.device) < lengths[:, None] + before)[:, None, None]


class Stack(nn.Module):
    """Blocks over a sequence: `<name>.blocks.i`."""

    def __init__(self, sizes, memory_width=0):
        super().__init__()
        self.sizes = sizes
        self.blocks = blocks(sizes, memory_width=memory_width)

    def angles(self, x, side=0):
        is_rotary = self.sizes["positions"] == "rotary"
        return rotary_angles(self.sizes, x.shape[1], side).to(x.device) if is_rotary else None

    def run(self, x, side=0, **context):
        angles = self.angles(x, side)
        for block in self.blocks:
            x = block(x, angles=angles, **context)
        return x


class Positions(nn.Module):
    """`<name>.positions` where they are learned."""

    def __init__(self, sizes, sequence, side=0):
        super().__init__()
        kind, width = sizes["positions"], sizes["width"]
        if kind == "learned":
            self.positions = nn.Parameter(torch.empty(sequence, width))
        elif kind == "sinusoidal":
            self.register_buffer("positions", sinusoids(width, sequence, side), persistent=False)
        else:
            self.positions = None
        self.norm = first_norm(sizes)

    def placed(self, x):
        """Before the norm."""
        return x if self.positions is None else x + self.positions


class PatchEmbedding(Positions):
    def __init__(self, image, has_class_token):
        size, patch, width = image["size"], image["patch"], image["width"]
        super().__init__(image, (size // patch) ** 2 + has_class_token, size // patch)
        self.size = patch
        self.patch = Product(width, 3 * patch * patch, bias=image.get("patch_bias", True))
        self.class_token = nn.Parameter(torch.empty(width)) if has_class_token else None
        self.register_buffer("mean", torch.tensor(image.get("pixel_mean", MEAN)), persistent=False)
        self.register_buffer("deviation", torch.tensor(image.get("pixel_std", DEVIATION)), persistent=False)

    def unnormed(self, pixels):
        """uint8 [B, size, size, 3]."""
        x = ((pixels.double() / 255 - self.mean.double()) / self.deviation.double()).float()
        p = self.size
        x = x.unflatten(1, (-1, p)).unflatten(3, (-1, p))  # [B, rows, p, columns, p, 3]
        x = self.patch(x.permute(0, 1, 3, 5, 2, 4).flatten(3).flatten(1, 2))
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], 1)
        return self.placed(x)

    def forward(self, pixels):
        return self.norm(self.unnormed(pixels))


class ImageEncoder(Stack):
    """`image.embed` and `image.blocks.i`, and what a model adds to them under `image`."""

    def __init__(self, image, has_class_token=False):
        super().__init__(image)
        self.embed = PatchEmbedding(image, has_class_token)

    def forward(self, pixels):
        return self.run(self.embed(pixels), side=self.sizes["size"] // self.sizes["patch"])


class TokenEmbedding(Positions):
    def __init__(self, text):
        super().__init__(text, text["length"])
        self.tokens = Product(text["vocabulary"], text["width"], bias=False)
        count = text.get("segments", 0)  # BERT's kinds of sentences, of which every token has the first
        self.segments = nn.Parameter(torch.empty(count, text["width"])) if count else None

    def forward(self, tokens):
        x = self.placed(F.embedding(tokens.long(), self.tokens.weight))
        return self.norm(x if self.segments is None else x + self.segments[0])


class TextStack(Stack):
    """`text.embed` and `text.blocks.i`, and what a model adds to them under `text`."""

    def __init__(self, text, memory_width=0):
        super().__init__(text, memory_width)
        self.embed = TokenEmbedding(text)


class AttentionPool(nn.Module):
    """Learned queries that attend to a sequence; with `is_head` SigLIP's head, which a feed-forward layer follows."""

    def __init__(self, sizes, num_queries, is_head=False):
        super().__init__()
        h, self.heads, bias = sizes["width"], sizes["heads"], has_biases(sizes)
        self.queries = nn.Parameter(torch.empty(num_queries, h))
        self.norm = last_norm(sizes)
        self.q, self.kv, self.out = Product(h, h, bias=bias), Product(2, h, h, bias=bias), Product(h, h, bias=bias)
        self.feed_forward = FeedForward(sizes) if is_head else None

    def forward(self, x):
        y = cross_attend(self, self.queries.expand(len(x), -1, -1), self.norm(x))
        return y if self.feed_forward is None else y + self.feed_forward(self.feed_forward.norm(y))


class Head(nn.Module):
    """A norm, or none, and a product to E dims: `<tower>.head`. A tower's `projection` may be "biased", or "none" at all."""

    def __init__(self, sizes, embedding, norm):
        super().__init__()
        self.norm, kind = norm, sizes.get("projection", "linear")
        self.projection = nn.Identity() if kind == "none" else Product(embedding, sizes["width"], bias=kind == "biased")

    def forward(self, x):
        return unit(self.projection(self.norm(x)))


class TokenOutput(nn.Module):
    """`text.output`: the last norm, and scores by a matrix of its own, or the embedding's."""

    def __init__(self, text, is_tied):
        super().__init__()
        self.norm = last_norm(text)
        if not is_tied:
            self.tokens = Product(text["vocabulary"], text["width"], bias=False)

    def forward(self, x, table):
        own = getattr(self, "tokens", None)
        return (own or table)(self.norm(x))
