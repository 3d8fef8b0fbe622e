"""How things are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from earthwords.errors import UsageError, did_you_mean, unknown
from earthwords.types import Vocabulary

METHODS = ("regions", "peaks")
SPLITS = ("distance", "probability", "none")
"""By what regions that touch are cut apart."""
SHAPES = ("polygons", "boxes", "points")
MOST_COUNT = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CountOptions:
    """What becomes of a map."""

    counted: tuple[int, ...]
    """Labels of the classes that are counted."""
    method: str = "regions"
    shapes: str = ""
    """Of `SHAPES`: what the file of instances holds; empty: polygons, of peaks points."""
    split: str = "distance"
    """Of `SPLITS`."""
    distance: float | None = None
    """Least distance of peaks, metres (pixels without a CRS); None: what the model sees as one."""
    min_area: float | None = None
    """Smallest region, square metres (pixels without a CRS); None: see `job.least_area`."""
    expected: tuple[int, ...] | None = None
    """How many of each counted class there are; None: nobody knows."""

    def __post_init__(self) -> None:
        if not self.shapes:
            object.__setattr__(self, "shapes", "points" if self.method == "peaks" else "polygons")
        for kind, value, known in (
            ("method", self.method, METHODS), ("shape", self.shapes, SHAPES), ("split", self.split, SPLITS),
        ):  # fmt: skip
            if value not in known:
                raise unknown(kind, value, known)
        for name, number in (("--distance", self.distance), ("--min-area", self.min_area)):
            if number is not None and not 0 <= number < math.inf:
                raise UsageError(f"{name} cannot be negative or infinite, got {number:g}.")
        if self.method == "peaks" and self.shapes != "points":
            raise UsageError(f"Peaks are points and have no {self.shapes}; use --as points, or --method regions.")

    @property
    def needs_probabilities(self) -> bool:
        """Whether more than the best class must be known."""
        return self.method == "peaks" or self.expected is not None

    @property
    def kept(self) -> str:
        """What is kept of the probabilities of a map, as `OutputOptions.probabilities`."""
        return "uint8" if self.needs_probabilities else "no"

    def settings(self) -> dict[str, str]:
        """What tells one way to count from another, as text."""
        given = {name: str(value) for name, value in vars(self).items() if value is not None}
        return {f"count-{name.replace('_', '-')}": value for name, value in given.items()}


def parse_expected(pairs: Sequence[str], vocabulary: Vocabulary, counted: tuple[int, ...]) -> tuple[int, ...] | None:
    """`ship=12` and the like, in the order of the counted classes; a class that is not named is expected nowhere.

    Raises:
        UsageError: no such class, twice the same, or a number that is no count.
    """
    if not pairs:
        return None
    titles = [vocabulary.titles[label] for label in counted]
    synonyms = {
        name.casefold(): place for place, label in enumerate(counted) for name in (*vocabulary.classes[label].names,)
    }
    found: dict[int, int] = {}
    for pair in pairs:
        name, sign, number = (part.strip() for part in pair.rpartition("="))
        if not sign:
            raise UsageError(f"--expect {pair!r} is not CLASS=NUMBER, such as ship=12.")
        place = synonyms.get(name.casefold())
        if place is None:
            raise UsageError(f"--expect names {name!r}, which is not counted. {did_you_mean(name, titles)}")
        if place in found:
            raise UsageError(f"--expect names {titles[place]!r} twice.")
        found[place] = parse_count(number, name)
    return tuple(found.get(place, 0) for place in range(len(counted)))


def parse_count(text: str, name: str) -> int:
    """A number of things.

    Raises:
        UsageError: it is negative, a fraction, or no number.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (number >= 0 and number == math.floor(number) and number <= MOST_COUNT):
        raise UsageError(f"The number of {name!r} must be a whole number from 0 to {MOST_COUNT:,}, got {text!r}.")
    return int(number)
