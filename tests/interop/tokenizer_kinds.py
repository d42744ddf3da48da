"""Tokenizers with the stages of those that people use, trained on made-up text: no vocabulary is downloaded.

Each function writes one file and returns it with a function that gives the tokens of a text, what the library puts around them,
and a function that gives their text.
"""

import base64
import contextlib
import json
import os
from pathlib import Path

import ftfy
import open_clip.tokenizer as open_clip
import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers)

from tokenizer_texts import training_texts

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
CLIP_MERGES = Path(open_clip.default_bpe())


class Training:
    """What tokenizers are trained on, and how large they are."""
    texts = staticmethod(training_texts)
    share = 1.0  # of the vocabularies below
    merges = CLIP_MERGES


def pieces(count):
    return int(count * Training.share)


# ---- SentencePiece

def fields(message):
    """(number, value) of a protobuf message's fields, a value being bytes or a number."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(tag & 7) or varint()
            yield tag >> 3, message[at:at + size]
            at += size


def charsmap_of(path):
    (normalizer,) = [value for number, value in fields(path.read_bytes()) if number == 3]
    return dict(fields(normalizer))[2]


def train_sentencepiece(folder, name, **options):
    prefix = str(folder / name)
    options = {"model_type": "unigram", "vocab_size": pieces(8000), "character_coverage": 0.98, "hard_vocab_limit": False, "num_threads": 1,
               "minloglevel": 2} | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(Training.texts()), model_prefix=prefix, **options)
    os.remove(prefix + ".vocab")
    return Path(prefix + ".model")


def sentencepiece_kind(folder, name, **options):
    path = train_sentencepiece(folder, name, **options)
    processor = sentencepiece.SentencePieceProcessor(str(path))
    begin, end = ([i] if i >= 0 else [] for i in (processor.bos_id(), processor.eos_id()))
    return path, processor.encode, (begin, end), processor.decode


# ---- CLIP

def clip_kind(folder):
    tokenizer = open_clip.SimpleTokenizer(str(Training.merges))
    # The one part of ftfy that is left out: see clip_cleaning.h.
    open_clip.ftfy = type("Ftfy", (), {"fix_text": staticmethod(lambda text: ftfy.fix_text(text, fix_encoding=False))})

    begin, end = tokenizer.all_special_ids

    def decode(ids):
        ids = ids[:ids.index(end)] if end in ids else ids  # what pads is a piece as well
        return tokenizer.decode([i for i in ids if i != begin]).removesuffix(" ")  # the last word's

    return Training.merges, tokenizer.encode, ([begin], [end]), decode


# ---- tokenizer.json

def save(folder, name, tokenizer, **changes):
    path = folder / f"{name}.json"
    content = json.loads(tokenizer.to_str())
    for key, value in changes.items():
        content["model"][key] = value
    path.write_text(json.dumps(content, ensure_ascii=False))
    tokenizer = Tokenizer.from_file(str(path))

    whole, inner = (tokenizer.encode("a red apple", add_special_tokens=special).ids for special in (True, False))
    begin = next(n for n in range(len(whole)) if whole[n:n + len(inner)] == inner)
    return (path, lambda text: tokenizer.encode(text, add_special_tokens=False).ids, (whole[:begin], whole[begin + len(inner):]),
            lambda ids: tokenizer.decode(ids, skip_special_tokens=True))


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(Training.texts(), trainer)


def special(*names, **options):
    return [AddedToken(name, special=True, normalized=False, **options) for name in names]


def bert(folder, name, lowercase):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    train(tokenizer, trainers.WordPieceTrainer(vocab_size=pieces(6000), special_tokens=special("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")))
    cls, sep = (tokenizer.token_to_id(t) for t in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                             special_tokens=[("[CLS]", cls), ("[SEP]", sep)])
    tokenizer.decoder = decoders.WordPiece()
    return save(folder, name, tokenizer)


def byte_bpe(names, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, trainers.BpeTrainer(vocab_size=pieces(6000), special_tokens=special(*names),
                                         initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def gpt2(folder, name):
    tokenizer = byte_bpe(["<|endoftext|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return save(folder, name, tokenizer)


def roberta(folder, name):
    tokenizer = byte_bpe(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.add_special_tokens(special("<mask>", lstrip=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return save(folder, name, tokenizer)


def llama3(folder, name):
    tokenizer = byte_bpe(["<|begin_of_text|>", "<|end_of_text|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                                      special_tokens=[("<|begin_of_text|>", 0)])])
    return save(folder, name, tokenizer, ignore_merges=True)


def qwen(folder, name):
    tokenizer = byte_bpe(["<|endoftext|>"])
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return save(folder, name, tokenizer)


def clip_json(folder, name):
    """What transformers has for openai/clip-vit-base-patch32."""
    original = open_clip.SimpleTokenizer(str(Training.merges))
    begin, end = original.all_special_ids
    vocab = {piece: i for piece, i in original.encoder.items() if i < begin} | {"<|startoftext|>": begin, "<|endoftext|>": end}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(original.bpe_ranks), unk_token="<|endoftext|>", end_of_word_suffix="</w>",
                                     continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(CLIP), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.post_processor = processors.RobertaProcessing(("<|endoftext|>", end), ("<|startoftext|>", begin),
                                                            add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special("<|startoftext|>", "<|endoftext|>"))
    return save(folder, name, tokenizer)


def llama2(folder, name, legacy):
    """A SentencePiece BPE with bytes, as transformers converts it."""
    trained = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    train(trained, trainers.BpeTrainer(vocab_size=pieces(6000), limit_alphabet=pieces(900), special_tokens=names))
    model = json.loads(trained.to_str())["model"]
    tokenizer = Tokenizer(models.BPE(vocab=model["vocab"], merges=[tuple(m) for m in model["merges"]], byte_fallback=True, unk_token="<unk>",
                                     fuse_unk=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.add_special_tokens(special("<unk>", "<s>", "</s>"))
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
        tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=True) for name in ("<unk>", "<s>", "</s>")])
        tokenizer.add_tokens([AddedToken("apple", single_word=True), AddedToken("<X>", rstrip=True), AddedToken("TRAIN")])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(content=" ", left=1, right=0)])
    return save(folder, name, tokenizer)


def unigram(folder, name, normalizer, pre_tokenizer, before=(), byte_fallback=False):
    trained = Tokenizer(models.Unigram())
    trained.normalizer, trained.pre_tokenizer = normalizer, pre_tokenizer
    names = ["<s>", "<pad>", "</s>", "<unk>"] + ([f"<0x{byte:02X}>" for byte in range(256)] if byte_fallback else [])
    train(trained, trainers.UnigramTrainer(vocab_size=pieces(12000), unk_token="<unk>", special_tokens=names, n_sub_iterations=1, shrinking_factor=0.5))
    vocab = [tuple(entry) for entry in json.loads(trained.to_str())["model"]["vocab"]]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=3, byte_fallback=byte_fallback))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizer
    tokenizer.add_special_tokens(special("<s>", "<pad>", "</s>", "<unk>"))
    tokenizer.add_special_tokens(special("<mask>", lstrip=True))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join([*before, "$A", "</s>"]), pair="$A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.decoder = decoders.Metaspace()
    return save(folder, name, tokenizer)


def t5(folder, name, charsmap):
    return unigram(folder, name, normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")]),
                   pre_tokenizers.Metaspace())


def xlm_roberta(folder, name, charsmap):
    return unigram(folder, name, normalizers.Precompiled(charsmap),
                   pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), before=["<s>"])


def albert(folder, name, charsmap):
    steps = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
             normalizers.Lowercase(), normalizers.Precompiled(charsmap), normalizers.Replace(Regex(" {2,}"), " ")]
    return unigram(folder, name, normalizers.Sequence(steps), pre_tokenizers.Metaspace(), byte_fallback=True)


def mixed(folder, name, normalizer, steps):
    """Stages that no well-known tokenizer combines."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, pre_tokenizers.Sequence(steps)
    train(tokenizer, trainers.BpeTrainer(vocab_size=pieces(4000), limit_alphabet=pieces(600), special_tokens=special("[UNK]", "[BOS]"),
                                         continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    tokenizer.decoder = decoders.BPEDecoder()
    tokenizer.add_tokens([AddedToken("red", single_word=True, lstrip=True, rstrip=True), AddedToken("no t"), AddedToken("#tag", normalized=False)])
    return save(folder, name, tokenizer)


def all_kinds(folder):
    """name, (file, encode, (before, after), decode), made one after another."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyError):
        del os.environ["TOKENIZERS_PARALLELISM"]
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    yield "sentencepiece unigram, as T5", sentencepiece_kind(folder, "sp_t5", **ids)
    yield "sentencepiece unigram, case-folded", sentencepiece_kind(folder, "sp_folded", normalization_rule_name="nmt_nfkc_cf")
    yield "sentencepiece BPE, as Llama 2", sentencepiece_kind(
        folder, "sp_llama", model_type="bpe", byte_fallback=True, normalization_rule_name="identity", split_digits=True,
        remove_extra_whitespaces=False, user_defined_symbols=["<0>", "  "])
    yield "sentencepiece characters", sentencepiece_kind(folder, "sp_char", model_type="char", treat_whitespace_as_suffix=True)
    yield "CLIP's merges (open_clip)", clip_kind(folder)
    charsmap = charsmap_of(folder / "sp_t5.model")
    yield "json: CLIP", clip_json(folder, "clip")
    yield "json: BERT, uncased", bert(folder, "bert_uncased", True)
    yield "json: BERT, cased", bert(folder, "bert_cased", False)
    yield "json: GPT-2", gpt2(folder, "gpt2")
    yield "json: RoBERTa", roberta(folder, "roberta")
    yield "json: Llama 3, GPT-4", llama3(folder, "llama3")
    yield "json: Qwen 2", qwen(folder, "qwen")
    yield "json: Llama 2", llama2(folder, "llama2", True)
    yield "json: Llama 2, without a normalizer", llama2(folder, "llama2_first", False)
    yield "json: T5", t5(folder, "t5", charsmap)
    yield "json: XLM-R", xlm_roberta(folder, "xlm_roberta", charsmap)
    yield "json: ALBERT, with bytes", albert(folder, "albert", charsmap)
    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    yield "json: Whitespace, Punctuation, Digits", mixed(
        folder, "mixed_words", normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Strip(), normalizers.Lowercase()]),
        [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(individual_digits=True)])
    for index, behavior in enumerate(behaviors):
        form = [normalizers.NFD(), normalizers.NFKD(), normalizers.NFC(), normalizers.NFKC(), normalizers.StripAccents()][index]
        yield f"json: Split, {behavior}", mixed(
            folder, f"mixed_{behavior}", normalizers.Sequence([form, normalizers.Strip(left=index % 2 == 0, right=index < 3)]),
            [pre_tokenizers.Split(Regex(r"[aeiou]+|\s|\d{2}"), behavior, invert=index == 4), pre_tokenizers.Punctuation(behavior),
             pre_tokenizers.Digits(individual_digits=index % 2 == 1)])
