"""The tokenizer of MetaCLIP 2 (https://arxiv.org/abs/2507.22062): XLM-V's pieces, of any language, as they are typed.

It runs on the `tokenizers` library and gives the ids of transformers' XLM-RoBERTa tokenizer; of the folder it takes the
pieces, SentencePiece's table of characters, and the names of the special tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from earthwords.errors import WeightsError, brief
from earthwords.files.reading import read_json
from earthwords.text.siglip import TOKENIZER, Unigrams, folder_settings, unigrams

_MARKS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


class AnyLanguageTokenizer:
    """Strings to token ids between a start and an end token, padded on the right."""

    def __init__(self, pieces: Unigrams, *, marks: dict[str, str], context: int) -> None:
        own = Tokenizer(Unigram(pieces.vocabulary, unk_id=pieces.unknown, byte_fallback=pieces.byte_fallback))
        if pieces.charsmap:
            own.normalizer = normalizers.Precompiled(pieces.charsmap)
        own.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
        )
        known = own.get_vocab()
        lacking = [mark for mark in marks.values() if mark not in known]
        if lacking:
            raise ValueError(f"it has no {brief(lacking[0], most=40)!r}")
        self._own, self.context = own, context
        self.start, self.end, self.pad = (known[marks[name]] for name in _MARKS)

    @property
    def highest(self) -> int:
        """The largest token id."""
        return max(self._own.get_vocab().values())

    @property
    def vocab_size(self) -> int:
        return int(self._own.get_vocab_size())

    def __call__(self, texts: Sequence[str], *, truncate: bool = True) -> NDArray[np.int64]:
        """Token ids `(text, length)`; a text longer than the context is cut and ends with the end token.

        `length` is the longest text's, or the context when `truncate` is False: attention is causal, so the padding
        never changes a result.
        """
        rows = [
            [self.start, *found.ids[: self.context - 2], self.end]
            for found in self._own.encode_batch(list(texts), add_special_tokens=False)
        ]
        length = max(map(len, rows), default=2) if truncate else self.context
        out = np.full((len(rows), length), self.pad, dtype=np.int64)
        for i, row in enumerate(rows):
            out[i, : len(row)] = row
        return out

    def pieces(self, word: str) -> list[str]:
        """What a word is read in."""
        return list(self._own.encode(word, add_special_tokens=False).tokens)

    @classmethod
    def from_folder(cls, folder: Path, *, context: int = 77) -> AnyLanguageTokenizer:
        """That of a folder in transformers' layout with a `tokenizer.json`.

        Raises:
            WeightsError: there is none, or it is damaged, or of another kind.
        """
        if not (folder / TOKENIZER).exists():
            raise WeightsError(f"No tokenizer in {folder}: expected {TOKENIZER}.")
        try:
            told = folder_settings(folder)
            marks = {}
            for name, usual in _MARKS.items():
                mark = told.get(name, usual)
                marks[name] = str(mark.get("content") if isinstance(mark, dict) else mark)
            return cls(unigrams(read_json(folder / TOKENIZER)), marks=marks, context=context)
        except Exception as error:  # the tokenizers library raises plain Exceptions
            what = brief(f"{type(error).__name__}: {error}")
            raise WeightsError(f"The tokenizer in {folder} is damaged, or not that of MetaCLIP 2 ({what}).") from error
