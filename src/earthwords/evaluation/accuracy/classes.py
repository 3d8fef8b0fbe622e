"""Which class of a map a word or a value of the truth means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import number_of
from earthwords.geo.class_names import ValueName
from earthwords.types import Colour


class TruthClasses:
    """The classes of a map, and those that only the truth has, numbered."""

    def __init__(self, values: Iterable[int], names: Mapping[int, ValueName], ignored: Iterable[str] = ()) -> None:
        """
        Args:
            values: that the map has.
            names: of its values, also of those that it does not have.
            ignored: words of the truth that do not count.
        """
        self.titles: list[str] = []
        self.colours: list[Colour | None] = []
        self._values: list[int] = list(values)
        self._number: dict[str, int] = {}
        self._ignored = {_key(word) for word in ignored}
        self._others = {_key(name): value for value, each in names.items() for name in each.names}
        self._names = names
        self._read_as: dict[str, str] = {}
        self._unknown: dict[str, int] = {}
        self.left_out = 0
        """How often a word did not count."""
        for value in self._values:
            self._add(value)
        self.mapped = len(self.titles)
        """So many of them does the map have."""

    def __len__(self) -> int:
        return len(self.titles)

    def number(self, word: str, *, times: int = 1) -> int:
        """Of a word of the truth, which becomes a class of its own if the map has none such; -1: it does not count."""
        key = _key(word)
        if key in self._ignored:
            self.left_out += times
            return -1
        if key not in self._number:
            self._learn(word, key)
        found = self._number[key]
        if key != _key(self.titles[found]):
            self._read_as[word] = self.titles[found]
        if self.titles[found] in self._unknown:
            self._unknown[self.titles[found]] += times
        return found

    def of_value(self, value: int) -> int:
        """Of a value of the map."""
        return self._values.index(value)

    def best(self, words: Sequence[str]) -> str:
        """The first of some synonyms that the map knows, or the first one."""
        return next((word for word in words if _key(word) in self._number or _key(word) in self._others), words[0])

    def adopt(self, names: Mapping[int, ValueName]) -> None:
        """Names for the values of a map that has none itself."""
        for number, value in enumerate(self._values):
            if value in names:
                self.titles[number], self.colours[number] = names[value].title, names[value].colour
                self._number |= {_key(name): number for name in names[value].names}

    def numbers(self, words: Iterable[str]) -> NDArray[np.int64]:
        """Of each word."""
        return np.array([self.number(word) for word in words], np.int64)

    def notes(self, unit: str) -> list[str]:
        """What was taken for what, and what the map does not know; `unit` is what was counted."""
        found = []
        if self._read_as:
            pairs = ", ".join(f"{word} as {title}" for word, title in sorted(self._read_as.items()))
            found.append(f"Classes of the truth that are another word of the map's: {pairs}.")
        if self._unknown:
            listed = ", ".join(f"{name!r} ({number_of(n, unit)})" for name, n in sorted(self._unknown.items()))
            found.append(
                f"The map has no class {listed}: what is so counts as an error of the map. If it is another word for "
                "one of its classes, name both in --classes; if it should not count, by --ignore."
            )
        if self.left_out:
            found.append(f"By --ignore {number_of(self.left_out, unit)} of the truth did not count for accuracy.")
        return found

    def _learn(self, word: str, key: str) -> None:
        """Give a word a number."""
        value = self._others.get(key)
        if value is None and re.fullmatch(r"-?\d{1,18}", word):
            value = int(word) if int(word) in self._names or int(word) in self._values else None
        if value is not None and value in self._values:
            self._number[key] = self._values.index(value)
        elif value is not None:  # asked for, and nowhere on the map
            self._values.append(value)
            self._number[key] = self._add(value)
        else:
            self._values.append(_NONE)
            self._number[key] = len(self.titles)
            self.titles.append(word)
            self.colours.append(None)
            self._unknown[word] = 0

    def _add(self, value: int) -> int:
        known = self._names.get(value)
        title = str(value) if known is None else known.title
        number = len(self.titles)
        self.titles.append(title)
        self.colours.append(None if known is None else known.colour)
        for name in (title,) if known is None else known.names:
            self._number.setdefault(_key(name), number)
        return number


_NONE = np.iinfo(np.int64).min
"""The value of what no value of the map means."""


def _key(word: str) -> str:
    """Case, and hyphens and underscores for spaces, make no difference."""
    return " ".join(word.casefold().replace("_", " ").replace("-", " ").split()) or word
