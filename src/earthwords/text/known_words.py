"""Which words a model has learned, and what is said about those that it has not.

A model trained by `train clip` carries `words.json`: in how many pictures each word stood. A CLIP trained by others
on hundreds of millions of sentences has no such list; its tokenizer tells whether a word is one to it, or a row of
letters.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from earthwords.errors import Caution, WeightsError
from earthwords.files.reading import read_json
from earthwords.text import glossary

FILE = "words.json"
"""In a model's folder."""
LEAST = 5
"""Pictures in which a word must have stood to count as learned."""
COMMON = 50
"""Pictures that make a word one to offer in another's place."""
OFFERED = 3
"""Words offered."""
LINES = 4
"""Words that get a line of their own; further ones share one."""

LARGE = 30_000
"""Pieces of a tokenizer that knows most words of the web; CLIP's has 49,408."""

_WORD = re.compile(r"[^\W\d_]+")
_NOTHING = """
    a an the this that of in on at to by from with without and or not no is are be near next beside between behind along
    around over under above below left right top bottom upper lower middle side part all every each some any other it
    its there which where what as for into
"""
_SMALL = frozenset(_NOTHING.split())
"""Words that name nothing."""


class Lexicon(Protocol):
    """What a model can read."""

    def doubt(self, text: str, model: str) -> str | None:
        """What is wrong with a word or a sentence: the end of a sentence that begins with it; None: nothing known."""

    def near(self, text: str) -> tuple[str, ...]:
        """Words that the model knows, near in meaning or spelling, the best first; if there is none, usual ones."""


@dataclass(frozen=True)
class KnownWords:
    """The words of a training: a `Lexicon`."""

    pictures: Mapping[str, int]
    """Words, and names of several words, to the number of real pictures whose sentences, labels or masks had them."""
    rendered: Mapping[str, int] = field(default_factory=dict)
    """The same of rendered pictures."""

    def __len__(self) -> int:
        """Single words learned."""
        words = {word for word in (*self.pictures, *self.rendered) if " " not in word}
        return sum(self.pictures.get(word, 0) + self.rendered.get(word, 0) >= LEAST for word in words)

    def doubt(self, text: str, model: str) -> str | None:
        """See `Lexicon`."""
        words = named(text)
        if not words:
            return "holds no word"
        if self._is_real(text):
            return None
        new = [word for word in words if not (self._in(word, self.pictures) or self._in(word, self.rendered))]
        if not new:
            return f"was learned by {model} from rendered scenes only, not from real pictures"
        which = "" if len(new) == len(words) else f" ({', '.join(new)})"
        return f"is not among the words that {model} learned{which}"

    def near(self, text: str) -> tuple[str, ...]:
        """See `Lexicon`."""
        meant = (*glossary.related(text), *glossary.broader(text))
        new = [word for word in named(text) if not self._in(word, self.pictures)]
        spelled = [close for word in new for close in difflib.get_close_matches(word, self._common, 1, 0.85)]
        offered = dict.fromkeys(word for word in (*spelled, *meant) if self._is_real(word) and word != text.lower())
        return (*offered, *(() if offered else self._usual))[:OFFERED]

    def plain(self) -> dict[str, dict[str, int]]:
        """As it is written to `words.json`."""
        return {kind: dict(sorted(counts.items())) for kind, counts in vars(self).items() if isinstance(counts, dict)}

    def joined(self, other: KnownWords | None) -> KnownWords:
        """With the words of an earlier training, whose weights this one began from."""
        if other is None:
            return self
        return KnownWords(
            pictures=dict(Counter(self.pictures) + Counter(other.pictures)),
            rendered=dict(Counter(self.rendered) + Counter(other.rendered)),
        )

    def _is_real(self, text: str) -> bool:
        """Whether a name, or else each of its words, stood in enough real pictures."""
        name, words = " ".join(text.lower().split()), named(text)
        if self._in(name, self.pictures):
            return True
        if self._in(name, self.rendered):
            return False  # a name says more than its words
        return bool(words) and all(self._in(word, self.pictures) for word in words)

    def _in(self, word: str, counts: Mapping[str, int]) -> bool:
        return sum(counts.get(form, 0) for form in forms(word)) >= LEAST

    @cached_property
    def _common(self) -> list[str]:
        """Words of many real pictures."""
        return [word for word, count in self.pictures.items() if count >= COMMON and word not in _SMALL]

    @cached_property
    def _usual(self) -> list[str]:
        """Those of them that name things and were rendered most: what the model was taught to outline."""
        things = (word for word in self._common if word in self.rendered and glossary.theme(word) is not None)
        return sorted(things, key=lambda word: -self.rendered[word])


@dataclass(frozen=True)
class Pieces:
    """What a tokenizer tells of a CLIP that learned from the web, in English: a `Lexicon`."""

    pieces: Callable[[str], Sequence[str]]
    """A word to the pieces that the tokenizer reads it in."""
    size: int = LARGE
    """Pieces that it knows; of a small one the pieces of a word tell nothing."""

    def doubt(self, text: str, model: str) -> str | None:
        """See `Lexicon`."""
        words = _WORD.findall(text.lower())
        if not words:
            return "holds no word"
        foreign = [word for word in words if not all(_is_latin(letter) for letter in word)]
        if foreign:
            return f"is in a script that {model} has hardly read ({', '.join(foreign)})"
        whole = [word for word in words if len(word) > 3] if self.size >= LARGE else []
        broken = [word for word in whole if 2 * len(self.pieces(word)) > len(word) - 1]
        return f"is no word to {model} but a row of letters ({', '.join(broken)})" if broken else None

    def near(self, text: str) -> tuple[str, ...]:
        """See `Lexicon`."""
        return (*glossary.related(text), *glossary.broader(text))[:OFFERED]


@dataclass(frozen=True)
class AnyLanguage:
    """Of a model that learned from the web in many languages nothing more is known: a `Lexicon`."""

    def doubt(self, text: str, model: str) -> str | None:
        """See `Lexicon`."""
        return None if _WORD.search(text) else "holds no word"

    def near(self, text: str) -> tuple[str, ...]:
        """See `Lexicon`."""
        return ()


def word_cautions(words: Iterable[str], lexicon: Lexicon | None, model: str) -> tuple[Caution, ...]:
    """A line for each word or sentence that the model has not learned; the last one for all the rest.

    Args:
        model: its name, as the user knows it.
    """
    if lexicon is None:
        return ()
    doubts = {word: doubt for word in words if (doubt := lexicon.doubt(word, model)) is not None}
    cautions = [_caution(word, doubts[word], lexicon.near(word)) for word in list(doubts)[:LINES]]
    rest = list(doubts)[LINES:]
    if rest:
        shown = ", ".join(map(repr, rest[:10])) + (", ..." if len(rest) > 10 else "")
        cautions.append(Caution(f"The same holds for {len(rest)} more: {shown}."))
    return tuple(cautions)


def _caution(word: str, doubt: str, near: Sequence[str]) -> Caution:
    shown = word if len(word) <= 60 else f"{word[:57]}..."
    offered = f"; it knows, for example: {', '.join(near)}" if near else ""
    return Caution(f"{shown!r} {doubt}, so what it marks means little{offered}.")


def named(text: str) -> list[str]:
    """The words of a name or sentence that mean something, in lower case."""
    return [word for word in _WORD.findall(text.lower()) if word not in _SMALL]


def forms(word: str) -> set[str]:
    """A word and what may be its singular or plural; forms that no language has do no harm."""
    found = {word, f"{word}es"}
    if word.endswith("ss"):
        return found
    if not word.endswith("s"):
        found.add(f"{word}s")
    for ending, other in (("ies", "y"), ("es", ""), ("s", ""), ("y", "ies")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            found.add(word.removesuffix(ending) + other)
    return found


def count_words(pictures: Iterable[tuple[Iterable[str], Iterable[str], bool]]) -> KnownWords:
    """The words of a training.

    Args:
        pictures: of each its sentences, its names of labels and classes, and whether it was rendered.
    """
    counts: dict[bool, Counter[str]] = {False: Counter(), True: Counter()}
    for sentences, names, rendered in pictures:
        tidy = {" ".join(name.lower().split()) for name in names}
        counts[rendered].update(tidy | {word for text in (*sentences, *tidy) for word in _WORD.findall(text.lower())})
    return KnownWords(pictures=dict(counts[False]), rendered=dict(counts[True]))


def read_words(folder: Path) -> KnownWords | None:
    """The words of the model in a folder; None if it has no list.

    Raises:
        WeightsError: the list is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        table = read_json(path)
        return KnownWords(pictures=_counts(table["pictures"]), rendered=_counts(table.get("rendered", {})))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"The list of words {path} is damaged ({type(error).__name__}); delete or replace it."
        ) from error


def _counts(table: Any) -> dict[str, int]:
    return {str(word): int(count) for word, count in table.items()}


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")
