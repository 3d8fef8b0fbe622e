"""CLIP's byte-pair tokenizer on the `tokenizers` library (https://arxiv.org/abs/2103.00020).

Text is repaired (ftfy), HTML-unescaped twice, stripped, its white space collapsed and lower-cased,
then split and merged. Unlike transformers' `CLIPTokenizer` this repeats the cleaning that CLIP and
open_clip apply, so the ids are theirs for every string.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from earthwords.errors import WeightsError

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clean(text: str) -> str:
    """The cleaning of CLIP's own tokenizer."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip().lower()


class ClipTokenizer:
    """Strings to token ids, padded with zeros."""

    def __init__(self, vocab: dict[str, int], merges: Sequence[tuple[str, str]], *, context: int = 77) -> None:
        self.context = context
        self.start, self.end = vocab[START], vocab[END]
        self._bpe = Tokenizer(
            BPE(vocab=vocab, merges=list(merges), end_of_word_suffix=WORD_END, unk_token=END, fuse_unk=False)
        )
        self._bpe.pre_tokenizer = _split()
        self._bpe.decoder = decoders.ByteLevel()

    @property
    def vocab_size(self) -> int:
        return int(self._bpe.get_vocab_size())

    def __call__(self, texts: Sequence[str], *, truncate: bool = True) -> NDArray[np.int64]:
        """Token ids `(text, length)`.

        `length` is the longest text's, start and end token included, or the context of the model when
        `truncate` is False. Text attention is causal and the sentence is read at its end token, so
        the columns behind the last end token never change a result. A text longer than the context
        is cut and ends with the end token.
        """
        rows = []
        for encoding in self._bpe.encode_batch([clean(t) for t in texts], add_special_tokens=False):
            rows.append([self.start, *encoding.ids[: self.context - 2], self.end])
        length = max(map(len, rows), default=2) if truncate else self.context
        out = np.zeros((len(rows), length), dtype=np.int64)
        for i, row in enumerate(rows):
            out[i, : len(row)] = row
        return out

    def save(self, folder: Path) -> None:
        """Write `vocab.json` and `merges.txt`, the files of a Hugging Face CLIP folder."""
        model = json.loads(self._bpe.to_str())["model"]
        (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
        lines = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")

    @classmethod
    def openai(cls, *, context: int = 77) -> ClipTokenizer:
        """The tokenizer of all OpenAI and open_clip models: 49,408 tokens, embedded in the package."""
        packed = files("earthwords").joinpath("assets", "clip_merges.txt.gz").read_bytes()
        merges = [_pair(line) for line in gzip.decompress(packed).decode().splitlines()]
        alphabet = _byte_symbols()
        symbols = [*alphabet, *(s + WORD_END for s in alphabet), *map("".join, merges), START, END]
        return cls({s: i for i, s in enumerate(symbols)}, merges, context=context)

    @classmethod
    def train(cls, texts: Iterable[str], *, vocab_size: int, context: int) -> ClipTokenizer:
        """A byte-pair vocabulary of this size learned from sentences; any string can be encoded."""
        learner = Tokenizer(BPE(end_of_word_suffix=WORD_END, unk_token=END))
        learner.pre_tokenizer = _split()
        alphabet = _byte_symbols()
        trainer = BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[START, END],
            initial_alphabet=alphabet,
            end_of_word_suffix=WORD_END,
            show_progress=False,
        )
        learner.train_from_iterator(map(clean, texts), trainer)
        model = json.loads(learner.to_str())["model"]
        merges = [_pair(m) if isinstance(m, str) else (m[0], m[1]) for m in model["merges"]]
        symbols = dict.fromkeys([*alphabet, *(s + WORD_END for s in alphabet), *map("".join, merges)])
        return cls({s: i for i, s in enumerate([*symbols, START, END])}, merges, context=context)

    @classmethod
    def from_folder(cls, folder: Path, *, context: int = 77) -> ClipTokenizer:
        """Read `vocab.json` and `merges.txt`, or `tokenizer.json`, of a Hugging Face folder."""
        if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
            vocab = json.loads((folder / "vocab.json").read_text())
            lines = (folder / "merges.txt").read_text().splitlines()
            return cls(vocab, [_pair(m) for m in lines if m and not m.startswith("#version")], context=context)
        if (folder / "tokenizer.json").exists():
            model = json.loads((folder / "tokenizer.json").read_text())["model"]
            merges = [_pair(m) if isinstance(m, str) else tuple(m) for m in model["merges"]]
            return cls(model["vocab"], merges, context=context)
        raise WeightsError(f"No tokenizer in {folder}: expected vocab.json and merges.txt, or tokenizer.json.")


def _split() -> pre_tokenizers.PreTokenizer:
    words = pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True)
    return pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split(" ")
    return first, second


def _byte_symbols() -> list[str]:
    """The 256 characters that stand for bytes, in CLIP's order: printable ones first."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]
