"""Means of checkpoints by name: `soup:A,B`, or with weights `soup:0.7*A,0.3*B`."""

from __future__ import annotations

import math

from earthwords.errors import UsageError, brief

PREFIX = "soup:"


def is_soup(name: str) -> bool:
    """Whether a name asks for a mean of checkpoints."""
    return name.startswith(PREFIX)


def parse_soup(name: str) -> list[tuple[str, float]]:
    """The checkpoints of a mean with their weights, whose sum is 1.

    Raises:
        UsageError: fewer than two checkpoints, one twice, a soup in a soup, or a weight that is no positive number.
    """
    parts = [_part(text.strip()) for text in name.removeprefix(PREFIX).split(",")]
    names = [part for part, _ in parts]
    if len(parts) < 2 or not all(names) or len(set(names)) < len(names) or any(map(is_soup, names)):
        raise UsageError(
            f"{brief(repr(name), most=120)} is no mean of checkpoints: write two or more different ones, such as "
            "soup:openai-vit-b-32,remoteclip-vit-b-32 or soup:0.7*A,0.3*B."
        )
    total = sum(weight for _, weight in parts)
    return [(part, weight / total) for part, weight in parts]


def _part(text: str) -> tuple[str, float]:
    weight, star, name = text.rpartition("*")
    if not star:
        return text, 1.0
    try:
        number = float(weight)
    except ValueError:
        number = math.nan
    if not 0 < number < 1e6:
        raise UsageError(f"The weight {brief(repr(weight), most=40)} of {brief(name, most=80)} is no positive number.")
    return name.strip(), number
