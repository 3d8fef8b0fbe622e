"""How things are counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from earthwords.errors import UsageError, did_you_mean, unknown
from earthwords.inference.limits import MOST_COUNT
from earthwords.types import Vocabulary

if TYPE_CHECKING:
    from earthwords.inference.instances.instructsam.server import CountServer

METHODS = ("regions", "peaks", "instructsam")
MASKS, MASK_RULES = "sam2.1-hiera-large", "instructsam"
"""Weights, and the settings of `models.sam`, of the masks of InstructSAM."""
SPLITS = ("distance", "probability", "none")
"""By what regions that touch are cut apart."""
SHAPES = ("polygons", "boxes", "points")


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
    server: CountServer | None = None
    """Who is asked how many there are."""
    masks: str = ""
    """Weights of SAM for the method instructsam; empty: `MASKS`."""

    def __post_init__(self) -> None:
        if not self.shapes:
            object.__setattr__(self, "shapes", "points" if self.method == "peaks" else "polygons")
        if self.method == "instructsam" and not self.masks:
            object.__setattr__(self, "masks", MASKS)
        if self.masks and self.method != "instructsam":
            raise UsageError(f"--masks belongs to --method instructsam, not to {self.method}.")
        if self.server is not None and self.expected is not None:
            raise UsageError("Give the counts either by --expect or by --counts-from, not both.")
        for kind, value, known in (
            ("method", self.method, METHODS), ("shape", self.shapes, SHAPES), ("split", self.split, SPLITS),
        ):  # fmt: skip
            if value not in known:
                raise unknown(kind, value, known)
        for name, number in (("--distance", self.distance), ("--min-area", self.min_area)):
            if number is not None and not 0 <= number < math.inf:
                raise UsageError(f"{name} cannot be negative or infinite, got {number:g}.")
        if self.distance == 0:
            raise UsageError("--distance must be above 0, got 0.")
        if self.method == "peaks" and self.shapes != "points":
            raise UsageError(f"Peaks are points and have no {self.shapes}; use --as points, or --method regions.")

    @property
    def needs_probabilities(self) -> bool:
        """Whether more than the best class must be known."""
        return self.method == "peaks" or (self.method == "regions" and self.expects)

    @property
    def expects(self) -> bool:
        """Whether it is known, or asked, how many there are."""
        return self.expected is not None or self.server is not None

    @property
    def kept(self) -> str:
        """What is kept of the probabilities of a map, as `OutputOptions.probabilities`."""
        return "uint8" if self.needs_probabilities else "no"

    def settings(self) -> dict[str, str]:
        """What tells one way to count from another, as text."""
        given = {name: str(value) for name, value in vars(self).items() if value not in (None, "")}
        return {f"count-{name.replace('_', '-')}": value for name, value in given.items()}


def parse_expected(
    pairs: Sequence[str] | Mapping[str, int], vocabulary: Vocabulary, counted: tuple[int, ...]
) -> tuple[int, ...] | None:
    """`ship=12` and the like, or a table, in the order of the counted classes; none of a class that is not named.

    Raises:
        UsageError: no such class, twice the same, or a number that is no count.
    """
    if isinstance(pairs, Mapping):
        pairs = [f"{name}={number}" for name, number in pairs.items()]
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


def counting_of(
    vocabulary: Vocabulary,
    counted: tuple[int, ...],
    *,
    expect: Sequence[str] | Mapping[str, int],
    counts_from: str | None,
    counts_model: str | None,
    offline: bool,
    **how: Any,
) -> CountOptions:
    """From options of a command; `how` is what `CountOptions` takes.

    Raises:
        UsageError: they contradict each other, or cannot be.
    """
    server = None
    if counts_from is not None:
        from earthwords.inference.instances.instructsam.server import CountServer

        if offline:
            raise UsageError("--counts-from asks a server, and --offline allows none.")
        server = CountServer(url=counts_from, model=counts_model or "")
    elif counts_model is not None:
        raise UsageError("--counts-model names who counts behind --counts-from; give its address, too.")
    expected = parse_expected(expect, vocabulary, counted)
    found = CountOptions(counted=counted, server=server, expected=expected, **how)
    if found.method == "peaks":
        if found.min_area is not None or found.split != "distance":
            raise UsageError("Peaks have no area and are not cut apart: --min-area and --split belong to regions.")
    elif found.distance is not None:
        raise UsageError(f"--distance is that of peaks; leave it out with --method {found.method}.")
    return found
