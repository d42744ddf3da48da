"""What the models share."""
import torch
from torch import nn

from .layers import AttentionPool, ImageEncoder, last_norm


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


def taken(x, places):
    """Rows of each sample's sequence, of a negative place any."""
    return x.gather(1, places.long().clamp_min(0)[:, :, None].expand(-1, -1, x.shape[-1]))
