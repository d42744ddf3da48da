#!/usr/bin/env python3
"""Small models of Hugging Face's transformers, made here from their own configs: weights, inputs and answers.

usage: make_reference.py OUT_FOLDER

Writes OUT_FOLDER/classifier.safetensors (ViTForImageClassification) and OUT_FOLDER/captioner.safetensors
(VisionEncoderDecoderModel of a ViTModel and a GPT2LMHeadModel with cross-attention). Each has the model's parameters under
Triptych's names, what the model was given as `input/...` and what it answered as `output/...`, all of it float32, and its
sizes as metadata. Nothing is downloaded: the weights are random, from a fixed seed, biases and norms too, so that nothing
that is wrong is hidden by a zero or a one.
"""
import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import (GenerationConfig, GPT2Config, GPT2LMHeadModel, VisionEncoderDecoderModel, ViTConfig,
                          ViTForImageClassification, ViTModel)
from transformers.pytorch_utils import Conv1D

SEED = 21
IMAGES = 5
IMAGE = {"size": 20, "patch": 4, "width": 48, "layers": 3, "heads": 4, "feed_forward": 112}
TEXT = {"length": 13, "width": 48, "layers": 2, "heads": 6, "feed_forward": 90}
CLASSES = 7
TOKENS = 61
FILLER_ROWS = 2  # of Triptych's vocabulary behind the tokens: they score no token
PROMPT = [1, 17]  # what the texts that the model writes begin with
PIXEL_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # as Triptych normalises pixels
PIXEL_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def image_config():
    return ViTConfig(image_size=IMAGE["size"], patch_size=IMAGE["patch"], hidden_size=IMAGE["width"],
                     num_hidden_layers=IMAGE["layers"], num_attention_heads=IMAGE["heads"],
                     intermediate_size=IMAGE["feed_forward"], hidden_act="gelu", layer_norm_eps=1e-5, qkv_bias=True,
                     hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=CLASSES,
                     attn_implementation="eager")


def text_config():
    return GPT2Config(vocab_size=TOKENS, n_positions=TEXT["length"], n_embd=TEXT["width"], n_layer=TEXT["layers"],
                      n_head=TEXT["heads"], n_inner=TEXT["feed_forward"], activation_function="gelu",
                      layer_norm_epsilon=1e-5, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                      add_cross_attention=True, is_decoder=True, bos_token_id=PROMPT[0], eos_token_id=None,
                      attn_implementation="eager")


@torch.no_grad()
def randomize(model):
    """Matrices that keep the variance of what they multiply and a little more; everything else far from its default."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, torch.nn.LayerNorm):
                parameter.normal_(1.0 if name == "weight" else 0.0, 0.3)
            elif name == "bias":
                parameter.normal_(0.0, 0.3)
            elif isinstance(module, Conv1D):  # [inputs, outputs]
                parameter.normal_(0.0, 1.2 / math.sqrt(parameter.shape[0]))
            elif isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):  # [outputs, inputs...]
                parameter.normal_(0.0, 1.2 / math.sqrt(parameter[0].numel()))
            else:  # tokens and positions; a model that sees a token's position well repeats itself less
                parameter.normal_(0.0, 1.0 if len(parameter) == TEXT["length"] else 0.3)


def norm(name, module):
    return {name + ".weight": module.weight, name + ".bias": module.bias}


def image_encoder(vit):
    """The parameters of a ViTModel but for its last norm, which is a part of what follows it."""
    embeddings = vit.embeddings
    projection = embeddings.patch_embeddings.projection
    parameters = {"image.embed.patch.weight": projection.weight.reshape(IMAGE["width"], -1),  # channel, row, column
                  "image.embed.patch.bias": projection.bias,
                  "image.embed.class_token": embeddings.cls_token.reshape(-1),
                  "image.embed.positions": embeddings.position_embeddings[0]}
    for i, layer in enumerate(vit.layers):
        block, attention = f"image.blocks.{i}", layer.attention
        qkv = attention.q_proj, attention.k_proj, attention.v_proj
        parameters |= norm(block + ".attention.norm", layer.layernorm_before)
        parameters |= norm(block + ".feed_forward.norm", layer.layernorm_after)
        parameters |= {block + ".attention.qkv.weight": torch.stack([one.weight for one in qkv]),
                       block + ".attention.qkv.bias": torch.stack([one.bias for one in qkv]),
                       block + ".attention.out.weight": attention.o_proj.weight,
                       block + ".attention.out.bias": attention.o_proj.bias,
                       block + ".feed_forward.in.weight": layer.mlp.fc1.weight,
                       block + ".feed_forward.in.bias": layer.mlp.fc1.bias,
                       block + ".feed_forward.out.weight": layer.mlp.fc2.weight,
                       block + ".feed_forward.out.bias": layer.mlp.fc2.bias}
    return parameters


def conv1d(name, module, parts=None):
    """A Conv1D's [inputs, outputs] as [outputs, inputs], and where its outputs are several things [parts, ...]."""
    weight, bias = module.weight.T, module.bias
    if parts is not None:
        weight, bias = weight.reshape(parts, -1, weight.shape[1]), bias.reshape(parts, -1)
    return {name + ".weight": weight, name + ".bias": bias}


def text_decoder(decoder):
    gpt = decoder.transformer
    assert decoder.lm_head.weight is gpt.wte.weight
    filler = 3 * torch.randn(FILLER_ROWS, TEXT["width"])
    parameters = {"text.embed.tokens.weight": torch.cat([gpt.wte.weight, filler]), "text.embed.positions": gpt.wpe.weight}
    for i, layer in enumerate(gpt.h):
        block = f"text.blocks.{i}"
        parameters |= norm(block + ".attention.norm", layer.ln_1)
        parameters |= conv1d(block + ".attention.qkv", layer.attn.c_attn, 3)
        parameters |= conv1d(block + ".attention.out", layer.attn.c_proj)
        parameters |= norm(block + ".cross_attention.norm", layer.ln_cross_attn)
        parameters |= conv1d(block + ".cross_attention.q", layer.crossattention.q_attn)
        parameters |= conv1d(block + ".cross_attention.kv", layer.crossattention.c_attn, 2)
        parameters |= conv1d(block + ".cross_attention.out", layer.crossattention.c_proj)
        parameters |= norm(block + ".feed_forward.norm", layer.ln_2)
        parameters |= conv1d(block + ".feed_forward.in", layer.mlp.c_fc)
        parameters |= conv1d(block + ".feed_forward.out", layer.mlp.c_proj)
    return parameters | norm("text.output.norm", gpt.ln_f)


def write(path, parameters, inputs, outputs, sizes):
    tensors = dict(parameters)
    tensors |= {"input/" + name: tensor for name, tensor in inputs.items()}
    tensors |= {"output/" + name: tensor for name, tensor in outputs.items()}
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path,
              metadata={name: str(size) for name, size in sizes.items()})


def rounding(model, answer, *arguments):
    """How far the library's float32 is from its own float64, as the comparison measures it."""
    exact = answer(model.double(), *(x.double() if x.is_floating_point() else x for x in arguments))
    model.float()
    return ((answer(model, *arguments) - exact).abs().max() / exact.abs().max()).item()


def make_classifier(pixels, normalized, path):
    model = ViTForImageClassification(image_config()).eval()
    randomize(model)

    def logits(vit, values):
        return vit(pixel_values=values).logits

    parameters = image_encoder(model.vit) | norm("classify.head.norm", model.vit.layernorm)
    parameters |= {"classify.head.weight": model.classifier.weight, "classify.head.bias": model.classifier.bias}
    sizes = {"image." + name: size for name, size in IMAGE.items()} | {"classes": CLASSES}
    write(path, parameters, {"pixels": pixels}, {"logits": logits(model, normalized)}, sizes)
    print(f"  classifier logits: float32 is within {rounding(model, logits, normalized):.1e} of float64")


def generate(model, normalized, end_token):
    """Greedy texts behind the prompt: tokens [B, T], -1 beyond the end token; whether each ended; log P of its tokens."""
    config = GenerationConfig(max_length=TEXT["length"], num_beams=1, do_sample=False, use_cache=True,
                              bos_token_id=PROMPT[0], decoder_start_token_id=PROMPT[0], eos_token_id=end_token,
                              pad_token_id=0, return_dict_in_generate=True, output_logits=True)
    written = model.generate(pixel_values=normalized, decoder_input_ids=torch.tensor([PROMPT] * IMAGES),
                             generation_config=config)
    new = written.sequences[:, len(PROMPT):]
    steps = torch.stack(written.logits, 1).log_softmax(-1)
    tokens = torch.full((IMAGES, TEXT["length"] - len(PROMPT)), -1, dtype=torch.int32)
    finished = torch.zeros(IMAGES, dtype=torch.int32)
    log_probability = torch.zeros(IMAGES)
    for b in range(IMAGES):
        for t, token in enumerate(new[b].tolist()):
            log_probability[b] += steps[b, t, token]
            if token == end_token:
                finished[b] = 1
                break
            tokens[b, t] = token
    best = steps.topk(2).values
    return tokens, finished, log_probability, (best[..., 0] - best[..., 1]).min().item()


def make_captioner(pixels, normalized, path):
    model = VisionEncoderDecoderModel(encoder=ViTModel(image_config(), add_pooling_layer=False),
                                      decoder=GPT2LMHeadModel(text_config())).eval()
    assert not hasattr(model, "enc_to_dec_proj")  # of equal widths there is none
    randomize(model)
    parameters = image_encoder(model.encoder) | norm("image.norm", model.encoder.layernorm) | text_decoder(model.decoder)
    tokens = torch.randint(TOKENS, (IMAGES, TEXT["length"]))

    def logits(encoder_decoder, values, ids):
        return encoder_decoder(pixel_values=values, decoder_input_ids=ids).logits

    # The token that ends the texts at the most different lengths.
    endless = generate(model, normalized, None)[0].tolist()
    end_token = max(range(TOKENS), key=lambda token: len({row.index(token) for row in endless if token in row}))
    greedy, finished, log_probability, margin = generate(model, normalized, end_token)
    outputs = {"memory": model.encoder(pixel_values=normalized).last_hidden_state,
               "logits": logits(model, normalized, tokens),
               "greedy_tokens": greedy, "greedy_finished": finished, "greedy_log_probability": log_probability}
    inputs = {"pixels": pixels, "tokens": tokens.int(), "prompt": torch.tensor(PROMPT, dtype=torch.int32)}
    sizes = {"image." + name: size for name, size in IMAGE.items()}
    sizes |= {"text." + name: size for name, size in TEXT.items()}
    sizes |= {"text.vocabulary": TOKENS + FILLER_ROWS, "tokens": TOKENS, "end_token": end_token}
    write(path, parameters, inputs, outputs, sizes)
    print(f"  captioner logits: float32 is within {rounding(model, logits, normalized, tokens):.1e} of float64")
    print(f"  greedy texts: {[[t for t in row if t >= 0] for row in greedy.tolist()]}, {int(finished.sum())} of {IMAGES} end "
          f"with token {end_token}; the best token leads by {margin:.1e} or more")


@torch.no_grad()
def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    transformers.logging.set_verbosity_error()
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    print(f"  torch {torch.__version__}, transformers {transformers.__version__}")
    pixels = torch.randint(256, (IMAGES, IMAGE["size"], IMAGE["size"], 3), dtype=torch.uint8)
    normalized = ((pixels.float() / 255 - PIXEL_MEAN) / PIXEL_STD).permute(0, 3, 1, 2)
    make_classifier(pixels, normalized, out / "classifier.safetensors")
    make_captioner(pixels, normalized, out / "captioner.safetensors")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
