"""Numbers of things from the answer of a language model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import EarthwordsError, brief
from earthwords.inference.limits import MOST_COUNT

Array: TypeAlias = NDArray[Any]

SAME = 0.95
"""Cosine of two names that mean the same (InstructSAM)."""


class UnreadableAnswer(EarthwordsError):
    """An answer holds no counts."""


def counts_of_answer(text: str, *, check: bool = True) -> dict[str, Any]:
    """The object between the first and the last brace.

    Args:
        check: also that it is names with whole numbers from 0.

    Raises:
        UnreadableAnswer: it is none.
    """
    first, last = text.find("{"), text.rfind("}")
    try:
        found = json.loads(text[first : last + 1]) if 0 <= first < last else None
    except (ValueError, RecursionError) as error:
        raise UnreadableAnswer(
            f"The answer holds no JSON object ({brief(error)}): {brief(text, most=120)!r}."
        ) from error
    if not isinstance(found, dict):
        raise UnreadableAnswer(f"The answer holds no JSON object: {brief(text, most=120)!r}.")
    wrong = next((name for name, number in found.items() if not _is_count(number)), None) if check else None
    if wrong is not None:
        raise UnreadableAnswer(
            f"The answer says {brief(repr(found[wrong]), most=60)} of {wrong!r}, which is no whole number "
            f"from 0 to {MOST_COUNT:,}."
        )
    return found


def _is_count(number: Any) -> bool:
    return (
        isinstance(number, (int, float))
        and not isinstance(number, bool)
        and 0 <= number <= MOST_COUNT
        and number == int(number)
    )


def nearest_titles(names: Sequence[str], features: Array, titles: Sequence[str], known: Array) -> Mapping[str, str]:
    """Name to the title that means the same, of those for which there is one.

    Args:
        features, known: `(name, dim)` and `(title, dim)`, of the sentence "an image of a NAME".
    """
    table = _unit(features) @ _unit(known).T
    best = table.argmax(axis=1)
    return {name: titles[place] for name, place, row in zip(names, best, table, strict=True) if row[place] >= SAME}


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
