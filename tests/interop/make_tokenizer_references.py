#!/usr/bin/env python3
"""Makes what tests/text/reference keeps: small tokenizers, texts, and the tokens that other libraries cut them into.

usage: make_tokenizer_references.py FOLDER      FOLDER must be there; of each tokenizer NAME, and NAME.tokens.json
"""

import gzip
import json
import sys
from pathlib import Path

import tokenizer_kinds as kinds
from tokenizers import normalizers, pre_tokenizers
from tokenizers import Regex
from tokenizer_texts import make_texts

SENTENCES = ("a red apple on the table", "the green train is fast", "an elephant's picture", "it isn't what they've seen",
             "das weiße Haus", "un été à la plage", "красное яблоко", "红色的苹果", "赤いりんご", "빨간 사과", "تفاحة حمراء", "42 apples, 3.14 or 1,000",
             "hello-world foo_bar #tag @user", "naïve café", "😀 👍🏽 ❤️")
# Characters, and what stands for them: a table of SentencePiece's in little.
RULES = "FF21\t41\nFF41\t61\n41\t61\n42\t62\nFB01\t66 69\n3000\t20\n9\t20\nA\t20\n2460\t31\n65 301\tE9\nE9\tE9\n200B\t\n332E\t30D4 30A2\n"


def main(folder):
    folder = Path(folder)
    kinds.Training.texts = lambda: [a + " " + b for a in SENTENCES for b in SENTENCES for _ in range(2)]
    kinds.Training.share = 0.07
    merges = gzip.open(kinds.CLIP_MERGES).read().decode().split("\n")[:601]
    kinds.Training.merges = folder / "clip_merges.txt.gz"
    with open(kinds.Training.merges, "wb") as out, gzip.GzipFile("", "wb", mtime=0, fileobj=out) as packed:
        packed.write("\n".join(merges).encode())
    rules = folder / "rules.tsv"
    rules.write_text(RULES)
    small = {"vocab_size": 400, "character_coverage": 1.0, "normalization_rule_tsv": str(rules)}
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    made = [
        kinds.clip_kind(folder),
        kinds.sentencepiece_kind(folder, "sentencepiece_unigram", **small, **ids),
        kinds.sentencepiece_kind(folder, "sentencepiece_bpe", **(small | {"vocab_size": 600}), model_type="bpe", byte_fallback=True,
                                 split_digits=True, remove_extra_whitespaces=False)]
    rules.unlink()
    charsmap = kinds.charsmap_of(folder / "sentencepiece_unigram.model")
    split = [pre_tokenizers.Split(Regex(r"[aeiou]+|\s|\d{2}"), "merged_with_next"), pre_tokenizers.Punctuation("merged_with_previous"),
             pre_tokenizers.Digits(individual_digits=True)]
    made += [
        kinds.clip_json(folder, "clip"), kinds.bert(folder, "bert_uncased", True), kinds.bert(folder, "bert_cased", False),
        kinds.gpt2(folder, "gpt2"), kinds.roberta(folder, "roberta"), kinds.llama3(folder, "llama3"), kinds.llama2(folder, "llama2", True),
        kinds.llama2(folder, "llama2_without_normalizer", False), kinds.t5(folder, "t5", charsmap),
        kinds.xlm_roberta(folder, "xlm_roberta", charsmap), kinds.albert(folder, "albert_with_bytes", charsmap),
        kinds.mixed(folder, "splits", normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Strip()]), split)]
    texts = make_texts(110, seed=7) + ["A red apple.", "The GREEN train isn't fast!", "Ａ ﬁ ① e\u0301 \u332e", *SENTENCES]
    (folder / "texts.json").write_text(json.dumps(texts, ensure_ascii=False))
    for file, encode, (before, after), decode in made:
        tokens = [encode(text) for text in texts]
        result = {"before": before, "after": after, "tokens": tokens, "texts": [decode(ids) for ids in tokens]}
        (folder / (file.name + ".tokens.json")).write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
