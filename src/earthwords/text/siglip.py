"""The tokenizers of SigLIP (https://arxiv.org/abs/2303.15343) and SigLIP 2 (https://arxiv.org/abs/2502.14786).

SigLIP reads small letters without punctuation, in pieces of a unigram model that `spiece.model` holds; SigLIP 2 reads
small letters with punctuation, in Gemma's pieces, which `tokenizer.json` holds. Both run on the `tokenizers` library:
a sentence gets the ids of transformers' slow tokenizer, whatever the folder says about classes.
"""

from __future__ import annotations

import base64
import re
import string
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, normalizers
from tokenizers.models import Unigram

from earthwords.errors import EarthwordsError, WeightsError, brief
from earthwords.files.plaintext import read_text
from earthwords.files.reading import parse_json, read_bytes, read_json

PIECES, TOKENIZER, SETTINGS = "spiece.model", "tokenizer.json", "tokenizer_config.json"
_MOST_BYTES = 2**28
_SPACE = "▁"
"""In the place of a space, also before the first word."""
_BEFORE = "<unk>"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True)
class Unigrams:
    """A unigram model: pieces with the logarithms of their probabilities, and how text is normalised before."""

    vocabulary: list[tuple[str, float]]
    unknown: int
    charsmap: bytes = b""
    byte_fallback: bool = False


class SiglipTokenizer:
    """Sentences to ids that end with the end token; not padded, not cut."""

    def __init__(self, own: Tokenizer, *, end: int, pad: int, canonical: bool, lower: bool = True) -> None:
        """`canonical`: punctuation goes, and white space is single, as in SigLIP's training."""
        self._own, self.canonical, self._lower = own, canonical, lower
        self.end, self.pad = end, pad
        self._skipped = len(self._ids([_BEFORE])[0]) if canonical else 0

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        if not self.canonical:
            rows = self._ids([text.lower() if self._lower else text for text in texts])
        else:
            # transformers puts <unk> before a sentence and takes its pieces off, to keep the space of the first word
            rows = [row[self._skipped :] for row in self._ids([_BEFORE + self._clean(text) for text in texts])]
        return [row if row[-1:] == [self.end] else [*row, self.end] for row in rows]

    @property
    def vocab_size(self) -> int:
        return int(self._own.get_vocab_size())

    @property
    def highest(self) -> int:
        """The largest token id."""
        return max(self._own.get_vocab().values())

    def pieces(self, word: str) -> list[str]:
        """What a word is read in."""
        [row] = self([word])
        return [str(self._own.id_to_token(number)) for number in row[:-1]]

    def _clean(self, text: str) -> str:
        text = _SPACE + text.replace(_SPACE, " ")
        text = (text.lower() if self._lower else text).translate(_NO_PUNCTUATION)
        return re.sub(r"\s+", " ", text).strip()

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(found.ids) for found in self._own.encode_batch(list(texts), add_special_tokens=False)]

    @classmethod
    def from_folder(cls, folder: Path) -> SiglipTokenizer:
        """That of a folder in transformers' layout: `spiece.model`, else `tokenizer.json`.

        Raises:
            WeightsError: there is none, or it is damaged.
        """
        try:
            settings = folder_settings(folder)
            lower = settings.get("do_lower_case", True) is not False
            if (folder / PIECES).exists():
                return _of_pieces(read_pieces(read_bytes(folder / PIECES, most=_MOST_BYTES)), settings, lower=lower)
            if (folder / TOKENIZER).exists():
                return _of_json(read_text(folder / TOKENIZER, most=_MOST_BYTES), settings, lower=lower)
        except EarthwordsError:
            raise
        except Exception as error:  # the tokenizers library raises plain Exceptions
            what = brief(f"{type(error).__name__}: {error}")
            raise WeightsError(f"The tokenizer in {folder} is damaged ({what}).") from error
        raise WeightsError(f"No tokenizer in {folder}: expected {PIECES} or {TOKENIZER}.")


class PaddedTokenizer:
    """Sentences to ids as SigLIP was trained: padded on the right to the context, without a mask."""

    def __init__(self, own: SiglipTokenizer, *, context: int) -> None:
        self._own, self.context = own, context
        self.canonical, self.end, self.pad = own.canonical, own.end, own.pad
        self.pieces = own.pieces

    @property
    def highest(self) -> int:
        """The largest token id."""
        return self._own.highest

    @property
    def vocab_size(self) -> int:
        return self._own.vocab_size

    def __call__(self, texts: Sequence[str], *, truncate: bool = True) -> NDArray[np.int64]:
        """Token ids `(text, context)`; a longer text is cut and ends with the end token.

        Args:
            truncate: without effect: what lies behind a text is read, too.
        """
        out = np.full((len(texts), self.context), self.pad, dtype=np.int64)
        for i, row in enumerate(self._own(texts)):
            kept = row if len(row) <= self.context else [*row[: self.context - 1], row[-1]]
            out[i, : len(kept)] = kept
        return out


def read_pieces(data: bytes) -> Unigrams:
    """What a model of SentencePiece holds.

    https://github.com/google/sentencepiece/blob/v0.2.0/src/sentencepiece_model.proto

    Raises:
        ValueError: it is damaged, or no unigram model.
    """
    vocabulary, kinds = [], []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(value))
            vocabulary.append((piece[1].decode("utf-8"), piece.get(2, 0.0)))
            kinds.append(piece.get(3, 1))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    if trainer.get(3, 1) != 1 or 2 not in kinds:
        raise ValueError("it is no unigram model")
    return Unigrams(
        vocabulary=vocabulary,
        unknown=kinds.index(2),
        charsmap=normalizer.get(2, b""),
        byte_fallback=bool(trainer.get(35, 0)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a message: https://protobuf.dev/programming-guides/encoding"""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
        elif kind in (1, 5):
            width = 8 if kind == 1 else 4
            yield tag >> 3, struct.unpack_from("<d" if kind == 1 else "<f", data, place)[0]
            place += width
        elif kind == 2:
            length, place = _varint(data, place)
            if length > len(data) - place:
                raise ValueError("it ends too early")
            yield tag >> 3, data[place : place + length]
            place += length
        else:
            raise ValueError("it is no message")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for i in range(10):
        byte = data[place + i]
        value |= (byte & 127) << 7 * i
        if byte < 128:
            return value, place + i + 1
    raise ValueError("a number in it has no end")


def folder_settings(folder: Path) -> dict[str, Any]:
    """What the folder says of the tokenizer; nothing where it says nothing."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", SETTINGS):
        if (folder / name).exists():
            part = read_json(folder / name)
            found |= part if isinstance(part, dict) else {}
    return found


def _of_pieces(pieces: Unigrams, settings: dict[str, Any], *, lower: bool) -> SiglipTokenizer:
    own = Tokenizer(Unigram(pieces.vocabulary, unk_id=pieces.unknown, byte_fallback=pieces.byte_fallback))
    steps: list[Any] = [normalizers.Precompiled(pieces.charsmap)] if pieces.charsmap else []
    steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    steps += [normalizers.Prepend(_SPACE), normalizers.Replace(" ", _SPACE), normalizers.Replace(Regex("▁+\\z"), "")]
    own.normalizer = normalizers.Sequence(steps)
    return SiglipTokenizer(own, **_ends(own, settings, end="</s>", pad="</s>"), canonical=True, lower=lower)


def _of_json(text: str, settings: dict[str, Any], *, lower: bool) -> SiglipTokenizer:
    table = parse_json(text)
    model = table["model"]
    if model["type"] == "Unigram":  # SigLIP's: only its pieces are taken
        return _of_pieces(unigrams(table), settings, lower=lower)
    if '"Regex"' in text:  # may take the age of the world for a sentence
        raise ValueError("it has a regular expression, which SigLIP 2 does not need")
    own = Tokenizer.from_str(text)
    own.no_truncation()
    own.no_padding()
    if lower:
        own.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own.normalizer] if own.normalizer else [])])
    known = own.get_vocab()
    end = "<eos>" if "<eos>" in known else "</s>"
    return SiglipTokenizer(
        own, **_ends(own, settings, end=end, pad="<pad>" if "<pad>" in known else end), canonical=False, lower=False
    )


def unigrams(table: dict[str, Any]) -> Unigrams:
    """What a `tokenizer.json` of a unigram model holds; how it splits and normalises beyond that is left.

    Raises:
        ValueError, LookupError, TypeError: it is of another model, or damaged.
    """
    model = table["model"]
    if model["type"] != "Unigram":
        raise ValueError("it is no unigram model")
    return Unigrams(
        vocabulary=[(str(piece), float(score)) for piece, score in model["vocab"]],
        unknown=int(model["unk_id"]),
        charsmap=_charsmap(table.get("normalizer")),
        byte_fallback=bool(model.get("byte_fallback", False)),
    )


def _charsmap(normalizer: Any) -> bytes:
    """SentencePiece's table of characters, wherever it stands among the normalizers."""
    if not isinstance(normalizer, dict):
        return b""
    if normalizer.get("type") == "Precompiled":
        return base64.b64decode(normalizer.get("precompiled_charsmap") or "")
    return next(filter(None, map(_charsmap, normalizer.get("normalizers", ()))), b"")


def _ends(own: Tokenizer, settings: dict[str, Any], **default: str) -> dict[str, int]:
    """Ids of the end token and of padding, by the names in the settings."""
    found = {}
    for name, key in (("end", "eos_token"), ("pad", "pad_token")):
        token = settings.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        number = own.token_to_id(token if isinstance(token, str) else default[name])
        if number is None:
            raise ValueError(f"it has no {key} {brief(str(token or default[name]), most=40)!r}")
        found[name] = int(number)
    return found
