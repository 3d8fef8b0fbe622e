"""Which models read words as they are typed, known without loading them."""

from __future__ import annotations

from pathlib import Path

from earthwords.models.families import ANY_LANGUAGE, kind_of
from earthwords.models.weights.soup_name import is_soup, parse_soup
from earthwords.models.weights.table import WEIGHTS


def reads_any_language(weights: str) -> bool:
    """Whether Chinese words go to these weights as they are; else they are translated first.

    Args:
        weights: a name of the table, its Hugging Face id, a folder, or a mean of such; of another id nobody knows.
    """
    if is_soup(weights):
        return all(reads_any_language(part) for part, _ in parse_soup(weights))
    rows = [row for row in WEIGHTS.values() if weights in (row.name, row.source)]
    return any(row.any_language for row in rows) or (not rows and kind_of(Path(weights)) in ANY_LANGUAGE)
