"""More words for classes, as ProC-SAM3 prompts them (https://github.com/YanghuiSong/ProC-SAM3).

A list has a line a class: a key and variants, commas between. Lines find their class by its words, or by words like
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from earthwords.errors import UsageError, brief
from earthwords.files.plaintext import Unreadable, read_text
from earthwords.files.reading import parse_json

GENERAL = "general"
"""The list that comes with the package."""
_SURE, _SHARED = 0.55, 0.3
_LETTERS, _TOKENS = 0.65, 0.35
"""Weights of equal letters and of equal words in how alike two names are."""

Classes = Sequence[Sequence[str]]
"""Words of every class."""


def check_prompts(name: str) -> None:
    """Refuse a list that cannot be read.

    Raises:
        UsageError: why not.
    """
    _read(name)


def prompted(classes: Classes, name: str | None) -> list[list[str]]:
    """The words of every class, and those of a list: `GENERAL`, a text file, or a JSON table of keys to variants.

    Args:
        name: None: there is no list, the words alone.

    Raises:
        UsageError: the list cannot be read.
    """
    if name is None:
        return _distinct(classes, {}, frozenset())
    table = _read(name)
    found = by_pool(classes, table) if isinstance(table, dict) else by_lines(classes, table, alike=name != GENERAL)
    empty = next((words[0] for words, left in zip(classes, found, strict=True) if not left), None)
    if empty is not None:
        raise UsageError(f"The prompts in {name} leave {empty!r} no word: a class before it has them all there.")
    return found


def by_lines(classes: Classes, lines: Iterable[str], *, alike: bool = True) -> list[list[str]]:
    """The words of every class, then the variants of its lines.

    Args:
        lines: a key and variants each; the key is to find the class, and no prompt unless it is one of its words.
        alike: a key finds its class by similar words too, and a variant may be a word of a later class, which loses
            it then (the authors' rule, for lists that belong to the classes).
    """
    more: dict[int, list[str]] = {}
    taken = set() if alike else {_normal(word) for words in classes for word in words}
    for line in lines:
        key, *variants = _split(line) or [""]
        owner = _owner(key, classes, alike=alike) if key else None
        if owner is not None:
            more.setdefault(owner, []).extend(word for word in variants if _normal(word) not in taken)
    return _distinct(classes, more, frozenset())


def by_pool(classes: Classes, pool: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The variants of every class; its own words stand before them only where one of them is the key."""
    more: dict[int, list[str]] = {}
    replaced: set[int] = set()
    for key, variants in pool.items():
        owner = _owner(key, classes, alike=True)
        if owner is None:
            continue
        if _normal(key) not in map(_normal, classes[owner]) and owner not in more:
            replaced.add(owner)
        more.setdefault(owner, []).extend(word for entry in variants for word in _split(str(entry)))
    return _distinct(classes, more, replaced)


def _distinct(classes: Classes, more: Mapping[int, Sequence[str]], replaced: Iterable[int]) -> list[list[str]]:
    """Each word once, in the first class that has it."""
    seen: set[str] = set()
    gone, found = set(replaced), []
    for i, own in enumerate(classes):
        words = []
        for word in (*([] if i in gone else own), *more.get(i, ())):
            if (key := _normal(word)) and key not in seen:
                seen.add(key)
                words.append(word)
        found.append(words)
    return found


def _owner(key: str, classes: Classes, *, alike: bool) -> int | None:
    """The class that a key means."""
    wanted = _normal(key)
    names = [[_normal(word) for word in words] for words in classes]
    same = next((i for i, words in enumerate(names) if wanted in words), None)
    if same is not None or not alike:
        return same
    best, owner, fits = 0.0, None, False
    for i, word in ((i, word) for i, words in enumerate(names) for word in words):
        letters, tokens = SequenceMatcher(None, wanted, word).ratio(), _common(wanted, word)
        score = _LETTERS * letters + _TOKENS * tokens
        if score > best:
            best, owner, fits = score, i, score >= _SURE or (tokens > 0 and letters >= _SHARED)
    return owner if fits else None


def _common(one: str, other: str) -> float:
    """Words in both, of those in either."""
    first, second = set(one.split()), set(other.split())
    return len(first & second) / max(1, len(first | second))


def _normal(word: str) -> str:
    return re.sub(r"\s+", " ", re.sub("[_-]", " ", word)).strip(" ,").lower()


def _split(line: str) -> list[str]:
    return [word.strip() for word in line.split(",") if word.strip()]


@lru_cache(maxsize=8)
def _read(name: str) -> Any:
    """Lines, or a table."""
    if name == GENERAL:
        text = files("earthwords").joinpath("assets", "prompts_general.txt").read_text(encoding="utf-8")
    else:
        try:
            text = read_text(Path(name))
        except Unreadable as error:
            raise UsageError(f"Cannot read the prompts in {name}: {error}.") from error
    if not name.endswith(".json"):
        return tuple(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    try:
        table = parse_json(text)
    except ValueError as error:
        raise UsageError(f"Cannot read the prompts in {name}: {brief(error)}.") from error
    if not isinstance(table, dict) or not all(isinstance(entry, list) for entry in table.values()):
        raise UsageError(f'{name} is no table of words with lists of variants, such as {{"road": ["street"]}}.')
    return table
