"""Texts as the models see them: docs/models.md, "Texts"."""
from pathlib import Path

import numpy as np
import sentencepiece

from .errors import FormatError
from .files import hash_of_bytes, read_bytes

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
_MOST_BYTES = 256 << 20
_SEAL = b"\xc2\x3e\x10"  # a field of our own behind the model: the hash of what stands before it


class Tokenizer:
    """The `tokenizer.model` of a checkpoint or a data set. Instances can be pickled, so loaders' workers may have them."""

    def __init__(self, path):
        self._set(read_bytes(path, _MOST_BYTES), Path(path))

    def _set(self, data, where):
        self._data, self._where = data, where
        body, seal = data[:-16], data[-16:]
        if not body.endswith(_SEAL) or hash_of_bytes(body[:-len(_SEAL)]) != seal.hex():
            raise FormatError(where, "must end with the checksum that `triptych tokenizer train` writes, and it does not match. "
                                     "Use the tokenizer.model of a checkpoint")
        self._model = sentencepiece.SentencePieceProcessor()
        self._model.LoadFromSerializedProto(data)
        ids = [self._model.pad_id(), self._model.unk_id(), self._model.bos_id(), self._model.eos_id()]
        if ids != [PAD, UNKNOWN, BEGIN, END]:
            raise FormatError(where, f"the ids of padding, unknown, begin and end must be 0, 1, 2, 3, found {ids}")

    def __getstate__(self):
        return self._data, self._where

    def __setstate__(self, state):
        self._set(*state)

    def __len__(self):
        return self._model.GetPieceSize()

    def __call__(self, texts, length):
        """tokens int32 [B, length] and lengths int32 [B] of a list of texts; what is too long is cut and keeps its end."""
        if isinstance(texts, str):
            raise TypeError("texts are a list; put a single one into one: [text]")
        if length < 2:
            raise ValueError(f"a length of {length} has no room for begin and end")
        tokens, lengths = np.full((len(texts), length), PAD, np.int32), np.empty(len(texts), np.int32)
        for row, text in enumerate(texts):
            ids = [BEGIN, *self._model.EncodeAsIds(text)[:length - 2], END]
            tokens[row, :len(ids)], lengths[row] = ids, len(ids)
        return tokens, lengths

    def decode(self, ids):
        """The text of one row of ids; padding, begin and end are left out, unknown pieces show as U+2047."""
        return self._model.DecodeIds([int(i) for i in ids if int(i) not in (PAD, BEGIN, END)])
