"""Texts as the models see them: docs/models.md, "Texts"."""
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import FormatError, UnsupportedError
from .files import hash_of_bytes, parse_json, read_bytes

_MOST_BYTES = 256 << 20
_SEAL = b"\xc2\x3e\x10"  # behind a model of `triptych tokenizer train` stands a field of our own: the hash of what is before it
# Names of special tokens of a tokenizer.json, for what it has a token but no place: the first that there is.
_BEGINS = ("<s>", "<bos>", "<|startoftext|>", "<|begin_of_text|>", "[CLS]", "<|endoftext|>")
_ENDS = ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "[SEP]")
_PADS = ("[PAD]", "<pad>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endofpad|>")


class Frame(NamedTuple):
    """What stands around a text's pieces, and fills the row after them."""
    before: list
    after: list
    pad: int
    most: int | None = None  # tokens that the file allows


class Tokenizer:
    """A checkpoint's tokenizer: a SentencePiece model, or a tokenizer.json (which needs the package `tokenizers`). Instances can be
    pickled, so a loader's workers may have them."""

    def __init__(self, path):
        self._set(read_bytes(path, _MOST_BYTES), Path(path))

    def _set(self, data, where):
        self._data, self._where = data, where
        if data[:2] == b"\x1f\x8b" or data[:9] == b'"bpe_simp':
            raise UnsupportedError(where, "CLIP's merges are not read here. Use open_clip's tokenizer, or a tokenizer.json of it")
        self._model = _Json(data, where) if data.lstrip()[:1] == b"{" else _SentencePiece(data, where)

    def __getstate__(self):
        return self._data, self._where

    def __setstate__(self, state):
        self._set(*state)

    def __len__(self):
        return self._model.size()

    def __call__(self, texts, length):
        """tokens int32 [B, length] and lengths int32 [B] of a list of texts; what is too long is cut and keeps its end."""
        if isinstance(texts, str):
            raise TypeError("texts are a list; put a single one into one: [text]")
        before, after, pad, most = self._model.frame
        around = len(before) + len(after)
        if length < around:
            raise ValueError(f"a length of {length} has no room for the {around} tokens around a text")
        room = length if most is None else max(min(length, most), around)
        tokens, lengths = np.full((len(texts), length), pad, np.int32), np.empty(len(texts), np.int32)
        for row, text in enumerate(texts):
            ids = [*before, *self._model.pieces(text)[:room - around], *after]
            tokens[row, :len(ids)], lengths[row] = ids, len(ids)
        return tokens, lengths

    def decode(self, ids):
        """The text of one row of ids, without the tokens that stand for no text."""
        return self._model.decode([int(i) for i in ids])


class _SentencePiece:
    def __init__(self, data, where):
        import sentencepiece
        body, seal = data[:-16], data[-16:]
        is_own = body.endswith(_SEAL)
        if is_own and hash_of_bytes(body[:-len(_SEAL)]) != seal.hex():
            raise FormatError(where, "must end with the checksum that `triptych tokenizer train` writes, and it does not match. "
                                     "Use the tokenizer of a checkpoint")
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(data)
            size = self._model.GetPieceSize()
        except RuntimeError as error:
            raise FormatError(where, f"must be a tokenizer: {error}. Use that of a checkpoint") from error
        if size == 0:
            raise FormatError(where, "must be a tokenizer, and has no pieces. Use that of a checkpoint")
        begin, end, pad = self._model.bos_id(), self._model.eos_id(), self._model.pad_id()
        if is_own and [pad, self._model.unk_id(), begin, end] != [0, 1, 2, 3]:
            raise FormatError(where, "the ids of padding, unknown, begin and end must be 0, 1, 2, 3. Train it again")
        self.frame = Frame([begin] * (begin >= 0), [end] * (end >= 0), pad if pad >= 0 else max(end, 0))

    def size(self):
        return self._model.GetPieceSize()

    def pieces(self, text):
        return self._model.EncodeAsIds(text)

    def decode(self, ids):
        """Unknown pieces show as U+2047."""
        return self._model.DecodeIds([i for i in ids if not self._model.IsControl(i) and i != self._model.pad_id()])


class _Json:
    def __init__(self, data, where):
        import tokenizers
        try:
            self._model = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the package has no type of its own for it
            raise FormatError(where, f"must be a tokenizer.json: {error}. Use that of a checkpoint") from error
        file = parse_json(data, where)
        self._model.no_truncation()
        self._model.no_padding()
        names = {token["content"]: token["id"] for token in file.get("added_tokens") or [] if token.get("special")}

        def first_of(candidates):
            return next(([names[name]] for name in candidates if name in names), [])

        whole, inner = (self._model.encode("a", add_special_tokens=is_framed).ids for is_framed in (True, False))
        start = next((at for at in range(len(whole) - len(inner) + 1) if whole[at:at + len(inner)] == inner), None)
        if not inner or start is None:
            raise FormatError(where, "must put its tokens around a text, and does not around `a`. Another tool is needed for it")
        before = whole[:start] or first_of(_BEGINS)
        after = whole[start + len(inner):] or first_of(_ENDS)
        padding, truncation = file.get("padding"), file.get("truncation")
        pads = [padding["pad_id"]] if padding else first_of(_PADS) or after[-1:] or [0]
        self.frame = Frame(before, after, pads[0], truncation["max_length"] if truncation else None)

    def size(self):
        return self._model.get_vocab_size(with_added_tokens=True)

    def pieces(self, text):
        return self._model.encode(text, add_special_tokens=False).ids

    def decode(self, ids):
        return self._model.decode(ids, skip_special_tokens=True)
