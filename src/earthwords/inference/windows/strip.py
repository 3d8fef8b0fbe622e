"""What a segmenter gives, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError


@dataclass(frozen=True, kw_only=True)
class Strip:
    """Consecutive full-width rows of the region asked for, in the scene's own pixels."""

    row: int
    """First row, counted from the top of the region."""
    labels: NDArray[np.unsignedinteger]
    """`(row, col)`, `vocabulary.nodata` where nothing was observed."""
    score: NDArray[np.float32]
    """`(row, col)`, 0 where nothing was observed."""
    rgb: NDArray[np.float32]
    """`(3, row, col)`, 0..1."""
    valid: NDArray[np.bool_]
    """`(row, col)`."""
    probabilities: NDArray[np.float32] | None = None
    """`(class, row, col)`, when asked for; NaN where nothing was observed."""
    undecided: NDArray[np.bool_] | None = None
    """`(row, col)`: where the two best classes are close, see `decide.undecided`; None: nobody knows."""
    rounding: NDArray[np.bool_] | None = None
    """`(row, col)`: where the precision may have decided, see `postprocess.rounded`; None: float32, or nobody knows."""


class Observation(Protocol):
    """What tells which pixels were observed."""

    @property
    def valid(self) -> NDArray[np.bool_]: ...


T = TypeVar("T", bound=Observation)


def observed(strips: Iterable[T], source: str) -> Iterator[T]:
    """The same strips.

    Raises:
        SourceError: at the end, if none of them holds a valid pixel.
    """
    any_valid = False
    for strip in strips:
        any_valid |= bool(strip.valid.any())
        yield strip
    if not any_valid:
        raise SourceError(f"{source} has no valid pixel in the part asked for; choose other bounds.")
