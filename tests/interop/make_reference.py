#!/usr/bin/env python3
"""Small models of Hugging Face's transformers, made here from their own configs: weights, inputs, answers, gradients.

usage: make_reference.py OUT_FOLDER TRIPTYCH

Writes OUT_FOLDER/NAME.safetensors for every model of MODELS: what it was given as `field/...`, what it answered as
`slot/...`, its loss as `step/...`. The model itself stands beside it as its library saves it, OUT_FOLDER/NAME, and as the
program TRIPTYCH imports it, OUT_FOLDER/NAME.imported; so do the loss's gradients, as a model whose weights they are,
OUT_FOLDER/NAME.gradients. Of models that are not imported, being put together here of several, the file has the parameters and
`gradient/...` by Triptych's names (families.py), and as metadata the config that Triptych's model is made from.

Nothing is downloaded: the weights are random, from a fixed seed, biases and norms too, so that nothing that is wrong is hidden
by a zero or a one.
"""
import copy
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

import open_clip
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import (BartConfig, BartForCausalLM, BertConfig, BertForMaskedLM, CLIPConfig, CLIPImageProcessor,
                          CLIPModel, CLIPTokenizer, CLIPVisionConfig,
                          GenerationConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, LlavaConfig,
                          PreTrainedModel, SiglipConfig, SiglipImageProcessor, SiglipModel, VisionEncoderDecoderModel, ViTConfig,
                          ViTForImageClassification, ViTImageProcessor, ViTMAEConfig, ViTMAEForPreTraining, ViTModel)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector
from transformers.pytorch_utils import Conv1D

import families

SEED = 21
IMAGES = 5
IMAGE = {"image_size": 20, "patch_size": 4, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 112}
TEXT = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 90}
PATCHES = 25
LENGTH = 13
TOKENS = 62
CLASSES = 7
MASKED = 3  # tokens of a text
SMOOTHING = 0.1  # of classes and of the tokens of captions, as by default
TEXTS = ["a red apple", "Héllo, WORLD!  it's 42", "two dogs & a cat; 日本語", "🙂 of a very long caption that goes on and is cut", ""]
PROMPT = [1, 17]  # what the texts that a model writes begin with
PIXEL_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])  # as Triptych and CLIP normalise pixels
PIXEL_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
SQUARE = {"height": IMAGE["image_size"], "width": IMAGE["image_size"]}


@torch.no_grad()
def randomize(model):
    """Matrices that keep the variance of what they multiply and a little more; everything else far from its default."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:  # positions that are fixed
                continue
            if "norm" in type(module).__name__.lower():
                parameter.normal_(1.0 if name == "weight" else 0.0, 0.3)
            elif name == "bias":
                parameter.normal_(0.0, 0.3)
            elif isinstance(module, Conv1D):  # [inputs, outputs]
                parameter.normal_(0.0, 1.2 / math.sqrt(parameter.shape[0]))
            elif isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):  # [outputs, inputs...]
                parameter.normal_(0.0, 1.2 / math.sqrt(parameter[0].numel()))
            else:  # tokens and positions; a model that sees a token's position well repeats itself less
                parameter.normal_(0.0, 1.0 if parameter.dim() > 1 and len(parameter) in (LENGTH, LENGTH + 2) else 0.3)


def save(model, folder):
    """As the model's library saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(model, "save_pretrained"):
        model.save_pretrained(folder)
        return
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()},
              folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    (folder / "open_clip_config.json").write_text(json.dumps(model.config_of_it))


def as_published(model):
    """A model's tensors, as the library writes them to a file."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(pathlib.Path(folder) / "model.safetensors")


def model_of_gradients(model):
    """The same model with its parameters' gradients in their place. One that has none is not a number."""
    with_gradients = copy.deepcopy(model)
    for into, parameter in zip(with_gradients.parameters(), model.parameters()):
        into.data = torch.full_like(parameter, torch.nan) if parameter.grad is None else parameter.grad.clone()
    return with_gradients


class Reference:
    """What is written of one model."""

    def __init__(self, model, processor=None, overrides=(), words=None):
        """`overrides`: keys of the imported config that are to have other values. `words`: the tokenizer, if the tokens are of
        texts."""
        self.model, self.processor, self.words = model, processor, words
        self.metadata, self.tensors = {"overrides": "\n".join(overrides)}, {}

    def add(self, folder, **tensors):
        self.tensors |= {f"{folder}/{name}": tensor for name, tensor in tensors.items()}

    def answer(self, slots, loss):
        """Slots that were computed, and the loss that was computed with them; their precision too."""
        loss.backward()
        self.add("slot", **slots)
        self.add("step", loss=loss.double().reshape(1))

    def write_model(self, path, triptych):
        library = "hf" if hasattr(self.model, "save_pretrained") else "open_clip"
        for name, model in (("imported", self.model), ("gradients", model_of_gradients(self.model))):
            folder = path.with_suffix("") if name == "imported" else path.with_suffix(".of_gradients")
            save(model, folder)
            if self.processor is not None:
                self.processor.save_pretrained(folder)
            if self.words is not None:
                self.words.save(folder, library)
            subprocess.run([triptych, "import", library, folder, "--out", path.with_suffix("." + name)], check=True,
                           stdout=subprocess.DEVNULL)

    def write(self, path, triptych):
        self.write_model(path, triptych)
        save_file({name: tensor.detach().contiguous().clone() for name, tensor in self.tensors.items()}, path,
                  metadata=self.metadata)
        told = [f"{name} {list(tensor.shape)}" for name, tensor in self.tensors.items() if name.startswith("slot/")]
        print(f"  {path.stem}: {', '.join(told)}, loss {self.tensors['step/loss'].item():.6f}")


class ReferenceByTable(Reference):
    """Of a model that is not imported: a table of families.py says what its parameters are here."""

    def __init__(self, keys, table, model, fixed=()):
        """`fixed`: their parameters that ours has as constants."""
        super().__init__(model)
        self.table, self.fixed = table, set(fixed)
        self.metadata = {"config": families.config_text(keys)}
        self.tensors, unread = families.parameters(table, as_published(model))
        assert unread == self.fixed, f"no row of the table has {sorted(unread - self.fixed)}"

    def answer(self, slots, loss):
        super().answer(slots, loss)
        published = as_published(model_of_gradients(self.model))
        published = {name: tensor for name, tensor in published.items() if not tensor.isnan().any()}
        found, _ = families.parameters(self.table, published, of_gradients=True)
        self.add("gradient", **found)

    def write_model(self, path, triptych):
        """It stands in the file."""


class Words:
    """The tokenizer of OpenAI's CLIP, which open_clip has with it; as open_clip and as transformers have it."""
    vocabulary = 49408

    def __init__(self):
        theirs = open_clip.get_tokenizer("ViT-B-32", context_length=LENGTH)
        names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
        vocabulary = {names.get(piece, piece): number for piece, number in theirs.encoder.items()}
        self.tokenizer = CLIPTokenizer(vocab=vocabulary, merges=list(theirs.bpe_ranks))
        given = self.tokenizer(TEXTS, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt")
        self.tokens, self.lengths, self.of_open_clip = given["input_ids"], given["attention_mask"].sum(1), theirs(TEXTS)
        is_token = torch.arange(LENGTH) < self.lengths[:, None]
        assert torch.equal(self.tokens[is_token], self.of_open_clip[is_token])  # their pads differ

    def save(self, folder, library):
        if library == "hf":
            self.tokenizer.save_pretrained(folder)
        else:
            shutil.copy(pathlib.Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", folder)


class Inputs:
    """What all models are given: pictures and texts, drawn once."""

    def __init__(self):
        self.pixels = torch.randint(256, (IMAGES, IMAGE["image_size"], IMAGE["image_size"], 3), dtype=torch.uint8)
        self.normalized = self.normalized_by(PIXEL_MEAN, PIXEL_STD)
        self.labels = torch.randint(CLASSES, (IMAGES,))
        self.tokens = torch.randint(3, TOKENS - 1, (IMAGES, LENGTH))
        self.lengths = torch.tensor([LENGTH, 7, 10, LENGTH - 1, 6])
        self.present = torch.ones(IMAGES, dtype=torch.uint8)
        self.is_token = torch.arange(LENGTH) < self.lengths[:, None]

    def normalized_by(self, mean, std):
        return ((self.pixels.float() / 255 - torch.as_tensor(mean)) / torch.as_tensor(std)).permute(0, 3, 1, 2)


def vit(inputs):
    model = ViTForImageClassification(ViTConfig(**IMAGE, num_labels=CLASSES)).eval()
    randomize(model)
    processor = ViTImageProcessor(size=SQUARE)
    reference = Reference(model, processor)
    reference.add("field", pixels=inputs.pixels, label=inputs.labels.int(), image_present=inputs.present)
    logits = model(pixel_values=inputs.normalized_by(processor.image_mean, processor.image_std)).logits
    reference.answer({"logits": logits}, cross_entropy(logits, inputs.labels, label_smoothing=SMOOTHING))
    return reference


def vit_mae(inputs):
    model = ViTMAEForPreTraining(
        ViTMAEConfig(**IMAGE, decoder_hidden_size=24, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
                     decoder_intermediate_size=50, norm_pix_loss=True, mask_ratio=0.75)).eval()
    fixed = model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed
    # In a new model the encoder's are left at zero, since this is marked as made before them.
    model.vit.embeddings.patch_embeddings.projection._is_hf_initialized = False
    with torch.no_grad():
        model.vit.embeddings.initialize_weights()
        model.decoder.initialize_weights(PATCHES)
    assert all(positions.abs().max() > 0.9 for positions in fixed)
    randomize(model)
    reference = ReferenceByTable(*families.vit_mae(model.config), model,
                                 fixed=["vit.embeddings.position_embeddings", "decoder.decoder_pos_embed"])
    noise = torch.rand(IMAGES, PATCHES)  # the patches with the least are seen
    order = noise.argsort(1)
    visible, masked = order[:, :PATCHES // 4], order[:, PATCHES // 4:]
    sources = torch.zeros(IMAGES, PATCHES, dtype=torch.long).scatter(1, visible, torch.arange(1, PATCHES // 4 + 1).expand(IMAGES, -1))
    reference.add("field", pixels=inputs.pixels, image_present=inputs.present, visible_patches=visible.int(),
                  masked_patches=masked.int(), patch_sources=sources.int())
    answer = model(pixel_values=inputs.normalized, noise=noise)
    by_channel = families.pixels_by_channel(IMAGE["patch_size"])
    reference.answer({"reconstruction": by_channel(answer.logits.movedim(2, 0)).movedim(0, 2)}, answer.loss)
    return reference


def ended(inputs):
    """The tokens with the end token where each text ends, whose state is the text's."""
    return inputs.tokens.scatter(1, inputs.lengths[:, None] - 1, TOKENS - 1)


def add_pairs(reference, inputs, tokens, lengths):
    reference.add("field", pixels=inputs.pixels, image_present=inputs.present, tokens=tokens.int(), lengths=lengths.int(),
                  text_present=inputs.present)


def clip_of(inputs, activation, words=None):
    text = TEXT | {"vocab_size": TOKENS, "max_position_embeddings": LENGTH, "eos_token_id": TOKENS - 1, "bos_token_id": 1,
                   "hidden_act": activation}
    if words is not None:
        text |= {"vocab_size": words.vocabulary, "bos_token_id": 49406, "eos_token_id": 49407}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=IMAGE | {"hidden_act": activation}, projection_dim=24)).eval()
    randomize(model)
    processor = CLIPImageProcessor(size={"shortest_edge": IMAGE["image_size"]}, crop_size=SQUARE)
    reference = Reference(model, processor, words=words)
    tokens, lengths = (ended(inputs), inputs.lengths) if words is None else (words.tokens, words.lengths)
    add_pairs(reference, inputs, tokens, lengths)
    answer = model(input_ids=tokens, pixel_values=inputs.normalized, return_loss=True)
    reference.answer({"image_embedding": answer.image_embeds, "text_embedding": answer.text_embeds}, answer.loss)
    return reference


def clip(inputs):
    return clip_of(inputs, "quick_gelu", Words())


def clip_laion(inputs):
    """As LAION's: the exact GELU."""
    return clip_of(inputs, "gelu")


def open_clip_of(inputs, quick, words=None):
    config = {"embed_dim": 24, "quick_gelu": quick,
              "vision_cfg": {"image_size": IMAGE["image_size"], "patch_size": IMAGE["patch_size"], "width": 48, "layers": 3,
                             "head_width": 12, "mlp_ratio": 2.5},
              "text_cfg": {"context_length": LENGTH, "vocab_size": TOKENS if words is None else words.vocabulary, "width": 48,
                           "heads": 6, "layers": 2, "mlp_ratio": 1.875}}
    model = open_clip.CLIP(**config).eval()
    randomize(model)
    model.config_of_it = {"model_cfg": config,
                          "preprocess_cfg": {"mean": PIXEL_MEAN.tolist(), "std": PIXEL_STD.tolist(), "size": IMAGE["image_size"]}}
    reference = Reference(model, words=words)
    tokens, lengths = (ended(inputs), inputs.lengths) if words is None else (words.of_open_clip, words.lengths)
    add_pairs(reference, inputs, tokens, lengths)
    image, text, scale = model(inputs.normalized, tokens)
    scores, own = scale * image @ text.T, torch.arange(IMAGES)
    reference.answer({"image_embedding": image, "text_embedding": text},
                     (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2)
    return reference


def open_clip_openai(inputs):
    return open_clip_of(inputs, True, Words())


def open_clip_laion(inputs):
    return open_clip_of(inputs, False)


def siglip(inputs):
    text = TEXT | {"vocab_size": TOKENS, "max_position_embeddings": LENGTH}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=IMAGE)).eval()
    randomize(model)
    processor = SiglipImageProcessor(size=SQUARE)
    reference = Reference(model, processor)
    # Texts are padded to their full length, and the padding is a part of them.
    add_pairs(reference, inputs, inputs.tokens, inputs.lengths)
    answer = model(input_ids=inputs.tokens, pixel_values=inputs.normalized_by(processor.image_mean, processor.image_std),
                   return_loss=True)
    reference.answer({"image_embedding": answer.image_embeds, "text_embedding": answer.text_embeds}, answer.loss)
    return reference


def bert(inputs):
    model = BertForMaskedLM(BertConfig(**TEXT, vocab_size=TOKENS, max_position_embeddings=LENGTH)).eval()
    randomize(model)
    reference = Reference(model, overrides=["objective.share=0.3", "model.dropout=0"])
    places = torch.stack([torch.randperm(length - 2)[:MASKED] + 1 for length in inputs.lengths.tolist()])
    targets = inputs.tokens.gather(1, places)
    tokens = inputs.tokens.scatter(1, places, TOKENS - 1)
    reference.add("field", tokens=tokens.int(), lengths=inputs.lengths.int(), masked_positions=places.int(),
                  masked_targets=targets.int())
    labels = torch.full_like(tokens, -100).scatter(1, places, targets)
    answer = model(input_ids=tokens, attention_mask=inputs.is_token.long(), labels=labels)
    chosen = answer.logits.gather(1, places[:, :, None].expand(-1, -1, TOKENS))
    reference.answer({"logits": chosen}, answer.loss)
    return reference


def next_tokens(inputs):
    """Of each token the one that follows it, -1 where none does."""
    targets = inputs.tokens.roll(-1, 1).where(inputs.is_token.roll(-1, 1) & inputs.is_token, -1)
    targets[:, -1] = -1
    return targets


def token_loss(logits, targets, smoothing=0.0):
    return cross_entropy(logits.reshape(-1, TOKENS), targets.reshape(-1), ignore_index=-1, label_smoothing=smoothing)


def captioner(inputs, decoder, family):
    """A ViT that a decoder attends to."""
    model = VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**IMAGE), add_pooling_layer=False), decoder=decoder).eval()
    assert not hasattr(model, "enc_to_dec_proj")  # of equal widths there is none
    randomize(model)
    reference = ReferenceByTable(*family(model.config.encoder, model.config.decoder), model)
    targets = next_tokens(inputs)
    reference.add("field", pixels=inputs.pixels, image_present=inputs.present, text_present=inputs.present,
                  tokens=inputs.tokens.int(), lengths=inputs.lengths.int(), targets=targets.int())
    logits = model(pixel_values=inputs.normalized, decoder_input_ids=inputs.tokens).logits
    loss = token_loss(logits, targets, SMOOTHING)
    memory = model.encoder(pixel_values=inputs.normalized).last_hidden_state
    reference.answer({"logits": logits, "memory": memory}, loss)
    add_greedy(reference, model, inputs)
    return reference


@torch.no_grad()
def generate(model, inputs, end_token):
    """Greedy texts behind the prompt: tokens [B, T], -1 beyond the end token; whether each ended; log P of its tokens; by how
    much the best token leads, at least."""
    config = GenerationConfig(max_length=LENGTH, num_beams=1, do_sample=False, use_cache=True, bos_token_id=PROMPT[0],
                              decoder_start_token_id=PROMPT[0], eos_token_id=end_token, pad_token_id=0,
                              return_dict_in_generate=True, output_logits=True)
    written = model.generate(pixel_values=inputs.normalized, decoder_input_ids=torch.tensor([PROMPT] * IMAGES),
                             generation_config=config)
    new = written.sequences[:, len(PROMPT):]
    steps = torch.stack(written.logits, 1).log_softmax(-1)
    tokens = torch.full((IMAGES, LENGTH - len(PROMPT)), -1, dtype=torch.int32)
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


def add_greedy(reference, model, inputs):
    # The token that ends the texts at the most different lengths.
    endless = generate(model, inputs, None)[0].tolist()
    end_token = max(range(TOKENS), key=lambda token: len({row.index(token) for row in endless if token in row}))
    tokens, finished, log_probability, margin = generate(model, inputs, end_token)
    reference.add("greedy", prompt=torch.tensor(PROMPT, dtype=torch.int32), tokens=tokens, finished=finished,
                  log_probability=log_probability)
    reference.metadata |= {"length": str(LENGTH), "tokens": str(TOKENS), "end_token": str(end_token)}
    texts = [[token for token in row if token >= 0] for row in tokens.tolist()]
    print(f"  greedy texts: {texts}, {int(finished.sum())} of {IMAGES} end; the best token leads by {margin:.1e} or more")


def vit_gpt2(inputs):
    config = GPT2Config(vocab_size=TOKENS, n_positions=LENGTH, n_embd=48, n_layer=2, n_head=6, n_inner=90,
                        add_cross_attention=True, is_decoder=True, bos_token_id=PROMPT[0], eos_token_id=None)
    return captioner(inputs, GPT2LMHeadModel(config), families.vit_gpt2)


def vit_bart(inputs):
    config = BartConfig(vocab_size=TOKENS, max_position_embeddings=LENGTH, d_model=48, decoder_layers=2,
                        decoder_attention_heads=6, decoder_ffn_dim=90, is_decoder=True, is_encoder_decoder=False,
                        bos_token_id=PROMPT[0], eos_token_id=None, pad_token_id=0, forced_eos_token_id=None)
    return captioner(inputs, BartForCausalLM(config), families.vit_bart)


def language(inputs, model, overrides=()):
    randomize(model)
    reference = Reference(model, overrides=overrides)
    targets = next_tokens(inputs)
    reference.add("field", tokens=inputs.tokens.int(), lengths=inputs.lengths.int(), targets=targets.int(),
                  text_present=inputs.present)
    logits = model(input_ids=inputs.tokens).logits
    reference.answer({"logits": logits}, token_loss(logits, targets))
    return reference


def gpt2(inputs):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=TOKENS, n_positions=LENGTH, n_embd=48, n_layer=2, n_head=6, n_inner=90)).eval()
    return language(inputs, model, ["model.dropout=0"])


def llama_config():
    return LlamaConfig(**TEXT, vocab_size=TOKENS, num_key_value_heads=2, max_position_embeddings=64)


def llama(inputs):
    model = LlamaForCausalLM(llama_config()).eval()
    return language(inputs, model, [f"model.text.length={LENGTH}"])


class Llava(PreTrainedModel):
    """A ViT, LLaVA's projector and a Llama, put together here: LLaVA itself takes its features in front of the last norm."""
    config_class = LlavaConfig

    def __init__(self, config):
        super().__init__(config)
        self.encoder = ViTModel(ViTConfig(**IMAGE), add_pooling_layer=False)
        self.connector = LlavaMultiModalProjector(config)
        self.decoder = LlamaForCausalLM(config.text_config)

    def forward(self, pixels, tokens):
        connected = self.connector(self.encoder(pixel_values=pixels).last_hidden_state)
        embedded = torch.cat([connected, self.decoder.model.embed_tokens(tokens)], 1)
        return connected, self.decoder(inputs_embeds=embedded).logits[:, connected.shape[1]:]


def vit_llava_llama(inputs):
    model = Llava(LlavaConfig(vision_config=CLIPVisionConfig(**IMAGE), text_config=llama_config())).eval()
    randomize(model)
    reference = ReferenceByTable(*families.vit_llava_llama(model.encoder.config, model.decoder.config, LENGTH), model)
    targets = next_tokens(inputs)
    reference.add("field", pixels=inputs.pixels, image_present=inputs.present, text_present=inputs.present,
                  tokens=inputs.tokens.int(), lengths=inputs.lengths.int(), targets=targets.int())
    connected, logits = model(inputs.normalized, inputs.tokens)
    reference.answer({"connected": connected, "logits": logits}, token_loss(logits, targets))
    return reference


MODELS = (vit, vit_mae, clip, clip_laion, open_clip_openai, open_clip_laion, siglip, bert, vit_gpt2, vit_bart, gpt2, llama, vit_llava_llama)


def main():
    out, triptych = pathlib.Path(sys.argv[1]), sys.argv[2]
    out.mkdir(parents=True)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    print(f"  torch {torch.__version__}, transformers {transformers.__version__}, open_clip {open_clip.__version__}")
    for model in MODELS:
        torch.manual_seed(SEED)
        model(Inputs()).write(out / f"{model.__name__}.safetensors", triptych)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
