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
from typing import Protocol

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from earthwords.errors import WeightsError, brief
from earthwords.files.plaintext import json_text, read_text
from earthwords.files.reading import read_json

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def clean(text: str) -> str:
    """The cleaning of CLIP's own tokenizer."""
    text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    return re.sub(r"\s+", " ", text).strip().lower()


class TextTokenizer(Protocol):
    """What a dual encoder reads words with."""

    context: int
    """Tokens that are read at most."""

    @property
    def highest(self) -> int:
        """The largest token id."""

    @property
    def vocab_size(self) -> int:
        """Tokens that it knows."""

    def __call__(self, texts: Sequence[str], *, truncate: bool = True) -> NDArray[np.int64]:
        """Token ids `(text, length)`."""

    def pieces(self, word: str) -> list[str]:
        """What a word is read in."""


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
    def highest(self) -> int:
        """The largest token id."""
        return max(self._bpe.get_vocab().values())

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

    def pieces(self, word: str) -> list[str]:
        """What a word is read in."""
        return list(self._bpe.encode(clean(word), add_special_tokens=False).tokens)

    def save(self, folder: Path) -> None:
        """Write `vocab.json` and `merges.txt`, the files of a Hugging Face CLIP folder."""
        model = json.loads(self._bpe.to_str())["model"]
        (folder / "vocab.json").write_text(json_text(model["vocab"]), encoding="utf-8")
        lines = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", encoding="utf-8")

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
        """A byte-pair vocabulary learned from sentences, the same in every run; any string can be encoded.

        `vocab_size` counts the symbols that occur; the byte symbols that end no word of `texts` come on top (at
        most 256).
        """
        cleaned = [clean(text) for text in texts]
        splitter = _split()
        learner = Tokenizer(BPE(end_of_word_suffix=WORD_END, unk_token=END))
        learner.pre_tokenizer = splitter
        alphabet = _byte_symbols()
        # Word ends are named to the trainer: it would number them in the order of a hash table, which differs
        # from run to run, and pairs that occur equally often are merged in the order of these numbers.
        words = {word for text in cleaned for word, _ in splitter.pre_tokenize_str(text)}
        ends = sorted({word[-1] + WORD_END for word in words})
        trainer = BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[START, END, *ends],
            initial_alphabet=alphabet,
            end_of_word_suffix=WORD_END,
            show_progress=False,
        )
        learner.train_from_iterator(cleaned, trainer)
        model = json.loads(learner.to_str())["model"]
        merges = [_pair(m) if isinstance(m, str) else (m[0], m[1]) for m in model["merges"]]
        symbols = dict.fromkeys([*alphabet, *(s + WORD_END for s in alphabet), *map("".join, merges)])
        return cls({s: i for i, s in enumerate([*symbols, START, END])}, merges, context=context)

    @classmethod
    def from_folder(cls, folder: Path, *, context: int = 77) -> ClipTokenizer:
        """Read `vocab.json` and `merges.txt`, or `tokenizer.json`, of a Hugging Face folder.

        Raises:
            WeightsError: there are none, or they are damaged.
        """
        try:
            files = _read_files(folder)
            if files is not None:
                return cls(*files, context=context)
        except Exception as error:  # the tokenizers library raises plain Exceptions
            what = brief(f"{type(error).__name__}: {error}")
            raise WeightsError(f"The tokenizer in {folder} is damaged ({what}).") from error
        raise WeightsError(f"No tokenizer in {folder}: expected vocab.json and merges.txt, or tokenizer.json.")


def _read_files(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]] | None:
    """Vocabulary and merges of a Hugging Face folder; None if it has no tokenizer."""
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        vocab = read_json(folder / "vocab.json")
        lines = read_text(folder / "merges.txt").splitlines()
        return vocab, [_pair(m) for m in lines if m and not m.startswith("#version")]
    if (folder / "tokenizer.json").exists():
        model = read_json(folder / "tokenizer.json")["model"]
        return model["vocab"], [_pair(m) if isinstance(m, str) else (m[0], m[1]) for m in model["merges"]]
    return None


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
