"""How many points a sample needs, and how they are shared among the strata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, unknown

Allocation = Literal["olofsson", "proportional", "equal"]
LEAST = 2
"""Points of a stratum: one alone has no variance."""
MOST_POINTS = 100_000
EXPECTED = 0.8
"""User's accuracy of a class of which nobody says more."""
RARE = 50
"""Points of a rare class (Olofsson et al. 2014, 5.1.2: 50 to 100)."""


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """What kind of sample."""

    points: int | None
    """In all; None: what `standard_error` asks for."""
    standard_error: float | None = None
    expected: tuple[str, ...] = ()
    """User's accuracies: one for all, or `CLASS=SHARE`."""
    allocation: Allocation = "olofsson"
    rare: int = RARE
    seed: int = 0

    def __post_init__(self) -> None:
        if self.allocation not in get_args(Allocation):
            raise unknown("allocation", self.allocation, get_args(Allocation))
        if (self.points is None) == (self.standard_error is None):
            raise UsageError("Say how many points by --draw N, or how sure the accuracy shall be by --standard-error.")
        if self.points is not None and not 1 <= self.points <= MOST_POINTS:
            raise UsageError(f"--draw takes 1 to {MOST_POINTS:,} points, got {self.points:,}.")
        if self.standard_error is not None and not 0.001 <= self.standard_error <= 0.25:
            raise UsageError(f"--standard-error is a share such as 0.02, 0.001 to 0.25, got {self.standard_error:g}.")
        if self.expected and self.standard_error is None:
            raise UsageError("--expected says how many points --standard-error needs; give that, or leave it out.")
        if self.rare < 2:
            raise UsageError(f"--rare must be at least 2, got {self.rare}.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is a whole number from 0, got {self.seed}.")
        for text in self.expected:
            _split(text)

    @property
    def most(self) -> int:
        """No class gets more."""
        return self.points or math.ceil((0.5 / (self.standard_error or 1)) ** 2)

    def total(self, names: Sequence[str], shares: Sequence[float]) -> int:
        """Points in all.

        Raises:
            UsageError: an accuracy is expected of a class that there is not.
        """
        if self.points is not None:
            return self.points
        assert self.standard_error is not None
        expected = np.full(len(names), EXPECTED)
        for name, value in sorted(map(_split, self.expected), key=lambda pair: pair[0] is not None):
            if name is not None and name not in names:
                raise unknown("class", name, names)
            expected[[name in (None, each) for each in names]] = value
        found = cochran(list(shares), list(expected), standard_error=self.standard_error)
        return max(found, 2 * len(names))


def _split(text: str) -> tuple[str | None, float]:
    """`0.8`, or `road=0.6`."""
    name, equals, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise UsageError(
            f"--expected is a share such as 0.8, or of a class, road=0.6; above 0 and below 1, not {text!r}."
        )
    return (name.strip() if equals else None), number


def cochran(shares: Sequence[float], expected: Sequence[float], *, standard_error: float) -> int:
    """Points in all for a standard error of the overall accuracy (Cochran 1977, 5.25; Olofsson et al. 2014, 13).

    Args:
        shares: of the area, of each stratum.
        expected: user's accuracy that each is guessed to have, 0..1.
        standard_error: of the overall accuracy, 0..1.
    """
    deviations = np.sqrt(np.multiply(expected, np.subtract(1, expected)))
    return max(1, math.ceil((float(np.dot(shares, deviations)) / standard_error) ** 2 - 1e-9))


def allocate(
    total: int, sizes: Sequence[float], pixels: Sequence[int], *, rule: Allocation = "olofsson", rare: int = RARE
) -> list[int]:
    """Points of each stratum: together `total`, unless there are fewer pixels.

    Args:
        total: points in all.
        sizes: areas of the strata.
        pixels: how many each has; none gets more points.
        rule: `proportional` to the areas; `equal`; `olofsson`: `rare` for each whose proportional share is smaller (but
            not more than half of all points for such floors), the rest proportional.
        rare: see `rule`.

    Raises:
        UsageError: too few points for two in each stratum.
    """
    least = [min(LEAST, most) for most in pixels]
    if total < sum(least):
        raise UsageError(
            f"{total} points are too few for {len(sizes)} classes: a standard error needs {LEAST} in each, so at "
            f"least {sum(least)}."
        )
    floor = {"proportional": LEAST, "equal": total // len(sizes), "olofsson": min(rare, total // (2 * len(sizes)))}[
        rule
    ]
    weights = np.ones(len(sizes)) if rule == "equal" else np.asarray(sizes, float)
    low = np.minimum(np.maximum(floor, LEAST), pixels)
    if low.sum() > total:
        low = np.asarray(least)
    return [int(number) for number in _shared(min(total, sum(pixels)), weights, low, np.asarray(pixels))]


def _shared(total: int, weights: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]) -> list[int]:
    """Whole numbers proportional to the weights, within bounds, that add up to `total`."""
    fixed = np.zeros(len(weights), bool)
    found = low.astype(float)
    while True:  # each round fixes one stratum at least
        rest = total - found[fixed].sum()
        found[~fixed] = rest * weights[~fixed] / weights[~fixed].sum() if (~fixed).any() else 0
        under, over = ~fixed & (found < low), ~fixed & (found > high)
        if not (under | over).any():
            break
        lacking, excess = (low - found)[under].sum(), (found - high)[over].sum()
        now = under if lacking >= excess else over
        found[now] = low[now] if lacking >= excess else high[now]
        fixed |= now
    whole = np.floor(found + 1e-9).astype(int)
    order = np.argsort(-(found - whole), kind="stable")
    for i in order[: total - whole.sum()]:
        whole[i] += 1
    return [int(number) for number in whole]
