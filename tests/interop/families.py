"""Which parameter of a published model is which of Triptych's, and which config it takes, of models that are not imported, being
put together of several; src/interop has the others: one table a family.

The names on their side are those of the files that Hugging Face's transformers writes (`model.safetensors`).
"""
import json
from typing import Callable, NamedTuple

import torch


def one(x):
    return x


def stacked(*parts):
    return torch.stack(parts)


def flat(x):
    return x.reshape(-1)


def rows(x):
    """[N, ...] as [N, values]: a convolution over patches as a product."""
    return x.reshape(len(x), -1)


class Row(NamedTuple):
    """One parameter of ours; a `*` in all names stands for `weight` and then for `bias`."""
    ours: str
    theirs: tuple
    make: Callable = one  # of theirs, in that order
    gradient: Callable | None = one  # of their gradients; one: as `make`; None: theirs do not say it


def linear(ours, *theirs):
    """A product with its bias, or several side by side: [parts, outputs, inputs]."""
    return Row(ours + ".*", tuple(name + ".*" for name in theirs), one if len(theirs) == 1 else stacked)


def unbiased(ours, *theirs):
    """The same without biases."""
    return Row(ours + ".weight", tuple(name + ".weight" for name in theirs), one if len(theirs) == 1 else stacked)


def norm(ours, theirs):
    return Row(ours + ".*", (theirs + ".*",))


def parameters(table, tensors, of_gradients=False):
    """Triptych's parameters, by their names, of a published model's `tensors`; and the names of those that no row has
    read. With `of_gradients` both are gradients; a row that they do not tell is left out."""
    ours, read = {}, set()
    for row in table:
        for part in ("weight", "bias") if "*" in row.ours else ("",):
            names = [name.replace("*", part) for name in row.theirs]
            make = row.make if row.gradient is one or not of_gradients else row.gradient
            read.update(names)
            if make is not None and all(name in tensors for name in names):
                ours[row.ours.replace("*", part)] = make(*(tensors[name] for name in names))
            elif not of_gradients:
                raise KeyError(f"{row.ours} needs {names}, found {sorted(tensors)}")
    return ours, set(tensors) - read


def config_text(keys):
    """A config with these keys, as TOML."""
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


# ---- Blocks

VIT_BLOCK = {"attention_norm": "layernorm_before", "query": "attention.attention.query", "key": "attention.attention.key",
             "value": "attention.attention.value", "out": "attention.output.dense", "feed_forward_norm": "layernorm_after",
             "inner": "intermediate.dense", "outer": "output.dense"}
BART_BLOCK = {"attention_norm": "self_attn_layer_norm", "query": "self_attn.q_proj", "key": "self_attn.k_proj",
              "value": "self_attn.v_proj", "out": "self_attn.out_proj", "feed_forward_norm": "final_layer_norm",
              "inner": "fc1", "outer": "fc2"}


def blocks(ours, theirs, layers, names):
    """Blocks "<ours>.blocks.i" that are "<theirs>.i" there."""
    table = []
    for i in range(layers):
        mine, other = f"{ours}.blocks.{i}", {part: f"{theirs}.{i}.{name}" for part, name in names.items()}
        table += [norm(f"{mine}.attention.norm", other["attention_norm"]),
                  linear(f"{mine}.attention.qkv", other["query"], other["key"], other["value"]),
                  linear(f"{mine}.attention.out", other["out"]),
                  norm(f"{mine}.feed_forward.norm", other["feed_forward_norm"]),
                  linear(f"{mine}.feed_forward.in", other["inner"]), linear(f"{mine}.feed_forward.out", other["outer"])]
    return table


def gpt2_blocks(ours, theirs, layers):
    """GPT-2's that attend to an encoder. Their products have their inputs first."""

    def turned(name, other, parts=1):
        def make(x):
            x = x.T if x.dim() == 2 else x
            return x if parts == 1 else x.reshape(parts, -1, *x.shape[1:])

        return Row(name + ".*", (other + ".*",), make)

    table = []
    for i in range(layers):
        mine, other = f"{ours}.blocks.{i}", f"{theirs}.{i}"
        table += [norm(f"{mine}.attention.norm", f"{other}.ln_1"),
                  turned(f"{mine}.attention.qkv", f"{other}.attn.c_attn", 3),
                  turned(f"{mine}.attention.out", f"{other}.attn.c_proj"),
                  norm(f"{mine}.feed_forward.norm", f"{other}.ln_2"),
                  turned(f"{mine}.feed_forward.in", f"{other}.mlp.c_fc"),
                  turned(f"{mine}.feed_forward.out", f"{other}.mlp.c_proj")]
        table += [norm(f"{mine}.cross_attention.norm", f"{other}.ln_cross_attn"),
                  turned(f"{mine}.cross_attention.q", f"{other}.crossattention.q_attn"),
                  turned(f"{mine}.cross_attention.kv", f"{other}.crossattention.c_attn", 2),
                  turned(f"{mine}.cross_attention.out", f"{other}.crossattention.c_proj")]
    return table


ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "gelu_quick",
               "silu": "swiglu"}


def stack_keys(section, width, layers, heads, feed_forward, activation, epsilon):
    return {f"{section}.width": width, f"{section}.layers": layers, f"{section}.heads": heads,
            f"{section}.feed_forward": feed_forward, f"{section}.activation": ACTIVATIONS[activation],
            f"{section}.norm_epsilon": epsilon}


def encoder_keys(section, config):
    """Of the configs that ViT, CLIP, SigLIP and BERT have in common."""
    return stack_keys(section, config.hidden_size, config.num_hidden_layers, config.num_attention_heads,
                      config.intermediate_size, config.hidden_act, config.layer_norm_eps)


def image_keys(config):
    return {"model.image.size": config.image_size, "model.image.patch": config.patch_size} | encoder_keys("model.image",
                                                                                                          config)


# ---- ViT (Dosovitskiy et al. 2021), and MAE (He et al. 2022)

def vit_encoder(theirs, layers, has_positions=True):
    """All but the norm behind the last block, which is a part of what follows it."""
    embeddings = f"{theirs}.embeddings"
    table = [Row("image.embed.patch.weight", (f"{embeddings}.patch_embeddings.projection.weight",), rows),
             Row("image.embed.patch.bias", (f"{embeddings}.patch_embeddings.projection.bias",)),
             Row("image.embed.class_token", (f"{embeddings}.cls_token",), flat)]
    if has_positions:
        table.append(Row("image.embed.positions", (f"{embeddings}.position_embeddings",), lambda x: x[0]))
    return table + blocks("image", f"{theirs}.encoder.layer", layers, VIT_BLOCK)


def pixels_by_channel(patch):
    """Values of a patch that lie by row, column and channel, by channel, row and column."""
    return lambda x: x.reshape(patch, patch, 3, *x.shape[1:]).movedim(2, 0).reshape(x.shape)


def vit_mae(config):
    decoder = stack_keys("model.decoder", config.decoder_hidden_size, config.decoder_num_hidden_layers,
                         config.decoder_num_attention_heads, config.decoder_intermediate_size, config.hidden_act,
                         config.layer_norm_eps)
    keys = {"task": "masked_image", "model.image.pooling": "class", "model.image.positions": "sinusoidal",
            "model.decoder.positions": "sinusoidal", "objective.visible_share": 1 - config.mask_ratio,
            "objective.normalize_patches": config.norm_pix_loss} | image_keys(config) | decoder
    table = vit_encoder("vit", config.num_hidden_layers, has_positions=False)
    table += [norm("image.norm", "vit.layernorm"), linear("decoder.embed", "decoder.decoder_embed"),
              Row("decoder.embed.mask_token", ("decoder.mask_token",), flat)]
    table += blocks("decoder", "decoder.decoder_encoder.layer", config.decoder_num_hidden_layers, VIT_BLOCK)
    table += [norm("decoder.output.norm", "decoder.decoder_norm"),
              Row("decoder.output.*", ("decoder.decoder_pred.*",), pixels_by_channel(config.patch_size))]
    return keys, table


# ---- Encoder-decoders: a ViT, and GPT-2 (Radford et al. 2019) or BART's decoder (Lewis et al. 2020)

def captioner_keys(image, length, vocabulary):
    return {"task": "caption", "model.image.class_token": True, "model.text.length": length,
            "model.text.vocabulary": vocabulary} | image_keys(image)


def vit_gpt2(image, text):
    keys = captioner_keys(image, text.n_positions, text.vocab_size)
    keys |= stack_keys("model.text", text.n_embd, text.n_layer, text.n_head, text.n_inner, text.activation_function,
                       text.layer_norm_epsilon)
    table = vit_encoder("encoder", image.num_hidden_layers) + [norm("image.norm", "encoder.layernorm")]
    table += [Row("text.embed.tokens.weight", ("decoder.transformer.wte.weight",)),
              Row("text.embed.positions", ("decoder.transformer.wpe.weight",)),
              norm("text.output.norm", "decoder.transformer.ln_f")]
    return keys, table + gpt2_blocks("text", "decoder.transformer.h", text.n_layer)


def vit_bart(image, text):
    keys = captioner_keys(image, text.max_position_embeddings, text.vocab_size)
    keys |= stack_keys("model.text", text.d_model, text.decoder_layers, text.decoder_attention_heads, text.decoder_ffn_dim,
                       text.activation_function, 1e-5)  # the library has no key for it
    keys |= {"model.text.norm_position": "post", "model.text.input_norm": True}
    decoder = "decoder.model.decoder"
    table = vit_encoder("encoder", image.num_hidden_layers) + [norm("image.norm", "encoder.layernorm")]
    table += [Row("text.embed.tokens.weight", (f"{decoder}.embed_tokens.weight",)),
              Row("text.embed.positions", (f"{decoder}.embed_positions.weight",), lambda x: x[2:],  # two rows are unused
                  lambda x: x[2:]), norm("text.embed.norm", f"{decoder}.layernorm_embedding")]
    table += blocks("text", f"{decoder}.layers", text.decoder_layers, BART_BLOCK)
    for i in range(text.decoder_layers):
        mine, theirs = f"text.blocks.{i}.cross_attention", f"{decoder}.layers.{i}.encoder_attn"
        table += [norm(f"{mine}.norm", f"{theirs}_layer_norm"), linear(f"{mine}.q", f"{theirs}.q_proj"),
                  linear(f"{mine}.kv", f"{theirs}.k_proj", f"{theirs}.v_proj"),
                  linear(f"{mine}.out", f"{theirs}.out_proj")]
    return keys, table


# ---- Llama (Touvron et al. 2023) and LLaVA's connector (Liu et al. 2024)

def language_keys(length, vocabulary, is_tied):
    return {"task": "language", "model.text.length": length, "model.text.vocabulary": vocabulary,
            "model.tied_output": is_tied}


def llama(config, length, prefix=""):
    """`length`: of the texts, which rotary positions do not tell. `prefix`: what their names begin with."""
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    keys = language_keys(length, config.vocab_size, False)
    keys |= stack_keys("model.text", config.hidden_size, config.num_hidden_layers, heads, config.intermediate_size,
                       config.hidden_act, config.rms_norm_eps)
    keys |= {"model.text.norm": "rms", "model.text.positions": "rotary", "model.text.kv_heads": kv_heads,
             "model.text.biases": False,
             "model.text.rotary_base": config.rope_parameters["rope_theta"]}
    table = [Row("text.embed.tokens.weight", (prefix + "model.embed_tokens.weight",)),
             Row("text.output.norm.weight", (prefix + "model.norm.weight",)),
             Row("text.output.tokens.weight", (prefix + "lm_head.weight",))]
    for i in range(config.num_hidden_layers):
        mine, theirs = f"text.blocks.{i}", f"{prefix}model.layers.{i}"
        q, k, v = (f"{theirs}.self_attn.{name}_proj" for name in "qkv")
        table += [Row(f"{mine}.attention.norm.weight", (f"{theirs}.input_layernorm.weight",)),
                  unbiased(f"{mine}.attention.out", f"{theirs}.self_attn.o_proj"),
                  Row(f"{mine}.feed_forward.norm.weight", (f"{theirs}.post_attention_layernorm.weight",)),
                  unbiased(f"{mine}.feed_forward.in", f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj"),
                  unbiased(f"{mine}.feed_forward.out", f"{theirs}.mlp.down_proj")]
        if kv_heads == heads:
            table += [unbiased(f"{mine}.attention.qkv", q, k, v)]
        else:
            table += [unbiased(f"{mine}.attention.q", q), unbiased(f"{mine}.attention.kv", k, v)]
    return keys, table


def vit_llava_llama(image, text, length):
    """LLaVA's projector between a ViT, all of whose tokens it takes behind the last norm, and a Llama."""
    keys, table = llama(text, length, "decoder.")
    keys |= {"model.connector.kind": "mlp", "model.image.pooling": "class"} | image_keys(image)
    table += vit_encoder("encoder", image.num_hidden_layers) + [norm("image.norm", "encoder.layernorm")]
    return keys, table + [linear("connector.in", "connector.linear_1"), linear("connector.out", "connector.linear_2")]
