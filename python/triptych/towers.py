"""Two towers, classifier, captioner, CoCa."""
from torch import nn

from .base import Model, Scale, add_pool, end_tokens, image_encoder, pooled
from .layers import AttentionPool, Head, Norm, Product, Stack, TextStack, TokenOutput, causal_mask, last_norm, lengths_mask


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
