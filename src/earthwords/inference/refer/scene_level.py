"""Sentences whose meaning depends on the whole scene: *the largest lake*, *the house in the top left corner*.

In a part of a scene they mean another thing, which a model finds as surely.
"""

from __future__ import annotations

import re
from functools import cache

from earthwords.text import phrases as words

_MOST = ("longest", "widest", "tallest", "shortest", "narrowest", "tiniest", "main", "only")
_ENDS = ("northernmost", "southernmost", "easternmost", "westernmost", "farthest", "furthest", "lowermost")
_AREAS = r"(north|south|east|west|(north|south)[- ]?(east|west))(ern)?"
_PLACES = (
    "upper", "lower", "corner", "border", "edge", "whole", "entire", "image", "picture", "scene",
    f"{_AREAS} (part|half|side|end)", f"in the {_AREAS}",
)  # fmt: skip


def _pattern() -> re.Pattern[str]:
    extremes = [*_MOST, *_ENDS]
    extremes += [word for size in ("largest", "smallest") for word in words.SIZES[size]]
    extremes += [phrase.format("").strip() for phrases in words.ENDS.values() for phrase in phrases]
    plain = "|".join(map(re.escape, dict.fromkeys(extremes)))
    places = "|".join([*(re.escape(phrase) for phrases in words.PLACES.values() for phrase in phrases), *_PLACES])
    return re.compile(rf"\b(({plain})|({places})(?! of the (?!(image|picture|scene))))\b", re.IGNORECASE)


_PATTERN = _pattern()


@cache
def phrase_words() -> frozenset[str]:
    """Single words that say which thing is meant: sizes, numbers, colours, places, relations."""
    phrases = [*_MOST, *_ENDS, *words.NUMBERS.values()]
    phrases += [
        p
        for table in (words.SIZES, words.COLOURS, words.PLACES, words.ENDS, words.RELATIONS)
        for ps in table.values()
        for p in ps
    ]
    return frozenset(word for phrase in phrases for word in re.findall(r"[a-z]+", phrase))


def is_scenewide(sentence: str) -> bool:
    """Whether an English sentence is about extremes or places of the scene.

    *The largest lake*, *the ship on the left* and *the northernmost house* are; *the house left of the lake*,
    *the large lake* and *the lake* are not.
    """
    return _PATTERN.search(sentence) is not None
