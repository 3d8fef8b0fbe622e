"""From what the user typed to a `Vocabulary`.

A class is a comma-separated list of synonyms, the first of which is its title. Class files are those
of SegEarth-OV: one class a line (https://github.com/likyoo/SegEarth-OV). Chinese words stay as they are typed and are
read as the English ones of `text.glossary`.
"""

from __future__ import annotations

import colorsys
import math
import re
from collections.abc import Sequence
from pathlib import Path

from earthwords.errors import UsageError, brief, printable
from earthwords.files.plaintext import Unreadable, read_text, utf8
from earthwords.text import glossary
from earthwords.types import ClassName, Colour, Vocabulary

NEAR, TRIES, APART = 6, 24, 90.0
"""A colour differs by so much from those of so many classes before and behind it, if one of so many hues does."""
MAX_QUERIES = 1000
MAX_LETTERS = 1000
MAX_SENTENCES, MAX_SENTENCE_LETTERS = 250, 10_000
BACKGROUND_WORDS = {"background", "clutter", "other", "others"}
_COMMAS = re.compile("[,，、]")
"""Between synonyms; the last two are Chinese."""
_OPTION = re.compile(r"(?:^|\s)(?:-[a-zA-Z]|--[a-z][a-z-]+)(?=\s|$)")
"""Quotes that end too late swallow the next option."""

COLOURS: dict[str, Colour] = {
    "background": (60, 60, 60),
    "water": (36, 113, 190),
    "river": (36, 113, 190),
    "lake": (58, 136, 209),
    "sea": (20, 82, 150),
    "building": (222, 66, 52),
    "roof": (222, 66, 52),
    "house": (238, 106, 80),
    "road": (250, 214, 86),
    "street": (250, 214, 86),
    "runway": (214, 170, 60),
    "railway": (140, 96, 60),
    "trees": (31, 122, 56),
    "tree": (31, 122, 56),
    "forest": (18, 92, 42),
    "vegetation": (74, 156, 74),
    "grass": (140, 202, 96),
    "meadow": (140, 202, 96),
    "cropland": (196, 206, 92),
    "field": (196, 206, 92),
    "farmland": (196, 206, 92),
    "agriculture": (196, 206, 92),
    "land": (198, 160, 112),
    "bare land": (198, 160, 112),
    "bareland": (198, 160, 112),
    "barren": (198, 160, 112),
    "soil": (176, 132, 88),
    "sand": (232, 208, 152),
    "desert": (232, 208, 152),
    "pavement": (150, 150, 160),
    "parking lot": (128, 132, 150),
    "ship": (236, 72, 180),
    "boat": (236, 72, 180),
    "plane": (150, 80, 220),
    "airplane": (150, 80, 220),
    "car": (255, 140, 0),
    "vehicle": (255, 140, 0),
    "swimming pool": (80, 220, 230),
    "solar panel": (40, 40, 140),
    "snow": (236, 244, 250),
    "cloud": (220, 220, 226),
}
"""Colours that a reader of maps expects; other words get well separated hues."""


def parse_classes(classes: Sequence[str], *, background: str | int | None = None, translate: bool = True) -> Vocabulary:
    """A vocabulary from one string a class, such as `["building,roof,house", "road"]`.

    Args:
        classes: comma-separated synonyms of one class each; white space is trimmed.
        background: title or index of the class that takes the pixels below the threshold; by default
            the class one of whose names is "background", "clutter" or "other", if there is one.
        translate: Chinese words are read as English ones; False for a model of any language.

    Raises:
        UsageError: one string instead of a list, no class, an empty class, a word given twice or of more than 1,000
            characters, more than 1,000 words, or a Chinese word that is not in the glossary.
    """
    if isinstance(classes, str):
        raise UsageError(f'Give a list of classes, such as ["building,roof", "road"], not one string: {classes!r}.')
    names = [split_words(text) for text in classes]
    _check(classes, names)
    english = [tuple(dict.fromkeys(map(in_english, words))) if translate else words for words in names]
    _check_twice(names, english)
    palette = _palette([words[0] for words in english])
    return Vocabulary(
        classes=tuple(
            ClassName(names=n, colour=c, read_as=() if e == n else e)
            for n, e, c in zip(names, english, palette, strict=True)
        ),
        background=_background(names, english, background),
    )


def split_words(text: str) -> tuple[str, ...]:
    """The words of a class, tidied: "building, roof" gives building and roof.

    Raises:
        UsageError: bytes in it are no text, or it holds an option of the command line.
    """
    option = _OPTION.search(text)
    if option is not None:
        raise UsageError(
            f"{brief(text, most=60)!r} holds {option[0].strip()!r}: each class has quotes of its own, such as "
            '-t "bare land" -t trees.'
        )
    return tuple(word for word in map(_tidy, _COMMAS.split(text)) if word)


def in_english(word: str) -> str:
    """The word that a model reads: a Chinese one translated, any other as it is.

    Raises:
        UsageError: a Chinese word that the glossary does not know.
    """
    if not glossary.is_chinese(word):
        return word
    found = glossary.translate(word)
    if found is None:
        near = glossary.nearest_chinese(word)
        hint = ", ".join(f"{known} ({glossary.translate(known)})" for known in near)
        offered = f"Near it: {hint}" if hint else "Known words are in docs/words.md"
        raise UsageError(
            f"{brief(word, most=40)!r} is not in the glossary of Chinese words, and the models read English. "
            f"{offered}; or write it in English."
        )
    return found


def parse_sentences(sentences: Sequence[str]) -> Vocabulary:
    """A vocabulary of whole sentences, each a class of its own, such as "the largest building, left of the lake".

    Raises:
        UsageError: one string instead of a list, no sentence, an empty or endless one, too many, or one given twice.
    """
    if isinstance(sentences, str):
        raise UsageError(f"Give a list of sentences, not one string: {brief(sentences)!r}.")
    tidied = [_tidy(sentence) for sentence in sentences]
    if not tidied or not all(tidied):
        raise UsageError('Say what to point at, such as "the building beside the lake"; a sentence is empty.')
    if len(tidied) > MAX_SENTENCES:
        raise UsageError(f"At most {MAX_SENTENCES} sentences at a time, got {len(tidied)}.")
    for i, sentence in enumerate(tidied):
        if len(sentence) > MAX_SENTENCE_LETTERS:
            raise UsageError(f"A sentence has {len(sentence):,} characters; at most {MAX_SENTENCE_LETTERS:,} are read.")
        if sentence in tidied[:i]:
            raise UsageError(f"The sentence {brief(sentence)!r} is given twice.")
    english = [sentence_in_english(sentence) for sentence in tidied]
    return Vocabulary(
        classes=tuple(
            ClassName(names=(s,), colour=c, read_as=() if e == s else (e,))
            for s, e, c in zip(tidied, english, _palette(tidied), strict=True)
        )
    )


def sentence_in_english(sentence: str) -> str:
    """A sentence that a model reads: a Chinese term translated, any other text as it is.

    Raises:
        UsageError: Chinese that is no term of the glossary; sentences are not translated.
    """
    if not glossary.is_chinese(sentence):
        return sentence
    found = glossary.translate(sentence)
    if found is None:
        terms = ", ".join(f"{word} = {term}" for word, term in glossary.terms_in(sentence))
        raise UsageError(
            f"{brief(sentence, most=40)!r} is Chinese and the models read English: single terms are translated, "
            f"sentences are not{f'; words in it: {terms}' if terms else ''}. Write it in English."
        )
    return found


def read_sentences(path: str | Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    try:
        lines = read_text(path).splitlines()
    except Unreadable as error:
        raise UsageError(f"Cannot read the sentences in {path}: {error}.") from error
    found = [line for line in map(_tidy, lines) if line]
    if not found:
        raise UsageError(f"{path} holds no sentence; write one a line.")
    return found


def read_class_file(path: str | Path, *, background: str | int | None = None, translate: bool = True) -> Vocabulary:
    """A vocabulary from a SegEarth-OV class file: one class a line, commas between synonyms; see `parse_classes`."""
    try:
        lines = read_text(path).splitlines()
    except Unreadable as error:
        raise UsageError(f"Cannot read the class file {path}: {error}.") from error
    return parse_classes([line for line in lines if line.strip()], background=background, translate=translate)


def _tidy(word: str) -> str:
    """White space trimmed, control characters dropped: no style or vector format can hold them.

    Raises:
        UsageError: bytes in it are no text.
    """
    if utf8(word) != word:
        raise UsageError(f"The words '{brief(printable(word), most=80)}' are not UTF-8 text; type them again.")
    return "".join(c for c in " ".join(word.split()) if c.isprintable())


def _check(classes: Sequence[str], names: Sequence[tuple[str, ...]]) -> None:
    if not classes:
        raise UsageError('No words to look for: give at least one class, such as -t "building,roof" -t road.')
    for text, words in zip(classes, names, strict=True):
        if not words:
            shown = brief(repr(text), most=80)
            raise UsageError(f"The class {shown} has no name; write words, commas between synonyms.")
    longest = max((word for words in names for word in words), key=len)
    if len(longest) > MAX_LETTERS:
        raise UsageError(
            f"A word of {len(longest):,} characters ({brief(longest, most=30)}) is too long (at most "
            f"{MAX_LETTERS}); models read a few dozen words of text."
        )
    queries = [word.lower() for words in names for word in words]
    if len(queries) > MAX_QUERIES:
        raise UsageError(
            f"{len(queries):,} words are too many for one run (at most {MAX_QUERIES:,}); ask for fewer classes."
        )
    twice = next((q for i, q in enumerate(queries) if q in queries[:i]), None)
    if twice is not None:
        raise UsageError(
            f"The word {brief(repr(twice), most=80)} is given twice; a word can belong to one class only, once."
        )


def _check_twice(names: Sequence[tuple[str, ...]], english: Sequence[tuple[str, ...]]) -> None:
    """Words of different classes that are read as the same."""
    owner: dict[str, int] = {}
    for index, word in ((i, word) for i, words in enumerate(english) for word in words):
        first = owner.setdefault(word.lower(), index)
        if first != index:
            raise UsageError(
                f"{names[first][0]!r} and {names[index][0]!r} are both read as {word!r}; a word can belong to one "
                "class only."
            )


def _background(
    names: Sequence[tuple[str, ...]], english: Sequence[tuple[str, ...]], wanted: str | int | None
) -> int | None:
    if isinstance(wanted, int):
        if not 0 <= wanted < len(names):
            raise UsageError(f"Background index {wanted} is not a class; there are {len(names)}, counted from 0.")
        return wanted
    accepted = BACKGROUND_WORDS if wanted is None else {_tidy(wanted).lower()}
    every = [{word.lower() for word in (*typed, *read)} for typed, read in zip(names, english, strict=True)]
    found = next((i for i, words in enumerate(every) if words & accepted), None)
    if found is None and wanted is not None:
        raise UsageError(f"The background {brief(repr(wanted), most=80)} is not among the classes; name one of them.")
    return found


def _palette(titles: Sequence[str]) -> list[Colour]:
    """A colour per title, never the same twice: the expected one where there is one, others unlike those near them."""
    expected = [COLOURS.get(title.lower()) for title in titles]
    taken: list[Colour] = []
    for i in range(len(titles)):
        colour = expected[i]
        if colour is None or colour in taken:
            near = [*taken[-NEAR:], *(other for other in expected[i + 1 : i + 1 + NEAR] if other is not None)]
            colour = _unlike(near, taken, step=i)
        taken.append(colour)
    return taken


def more_colours(taken: Sequence[Colour], count: int) -> list[Colour]:
    """Colours of further classes, whose names tell none."""
    found = list(taken)
    for _ in range(count):
        found.append(_unlike(found[-NEAR:], found, step=len(found)))
    return found[len(taken) :]


def _unlike(near: Sequence[Colour], taken: Sequence[Colour], *, step: int) -> Colour:
    """The next hue that is not taken and differs enough from those near, else the one that differs most."""
    best, farthest = None, -1.0
    for candidate in (_hue(step + i) for i in range(len(taken) + TRIES)):
        if candidate in taken:
            continue
        apart = min((_distance(candidate, other) for other in near), default=APART)
        if apart >= APART:
            return candidate
        if apart > farthest:
            best, farthest = candidate, apart
    assert best is not None, "there are more hues than classes"
    return best


def _distance(one: Colour, other: Colour) -> float:
    """How different two colours look: Euclidean, weighted as eyes do."""
    red = (one[0] + other[0]) / 512
    parts = zip((2 + red, 4.0, 3 - red), one, other, strict=True)
    return math.sqrt(sum(weight * (a - b) ** 2 for weight, a, b in parts))


def _hue(step: int) -> Colour:
    """Hues a golden angle apart, in three bands of lightness."""
    red, green, blue = colorsys.hls_to_rgb(step * 0.381966 % 1, (0.5, 0.35, 0.68)[step % 3], 0.7)
    return round(red * 255), round(green * 255), round(blue * 255)
