"""Peaks of a map of scores: where single things are, and how many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.errors import UsageError
from earthwords.types import Grid


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Points, the highest first."""

    points: NDArray[np.int64]
    """`(peak, 2)`: row and column of a pixel."""
    scores: NDArray[np.floating]
    """`(peak,)`."""

    def __len__(self) -> int:
        return len(self.points)

    def coordinates(self, grid: Grid) -> NDArray[np.float64]:
        """`(peak, 2)`: x and y of the pixels' centres in the CRS of the map's grid."""
        a, b, c, d, e, f = grid.transform[:6]
        row, col = (self.points + 0.5).T
        return np.stack([a * col + b * row + c, d * col + e * row + f], axis=1)


def find_peaks(scores: NDArray[np.floating], *, distance: float, least: float) -> Peaks:
    """Pixels that no other exceeds within a distance, and no two of them nearer than that.

    Of equal pixels nearer than `distance` the upper left one is taken.

    Args:
        scores: `(row, col)`; NaN where nothing was observed.
        distance: pixels, at least 1: about half the spacing of things that touch.
        least: pixels below are no peaks.

    Raises:
        UsageError: not a map, or a distance below 1.
    """
    if scores.ndim != 2:
        raise UsageError(f"Peaks are found in one map (row, col), got an array of {scores.shape}.")
    if not 1 <= distance <= 4096:
        raise UsageError(f"The distance of peaks is between 1 and 4096 pixels, got {distance:g}.")
    known = np.where(np.isnan(scores), -np.inf, scores)
    reach = np.arange(-int(distance), int(distance) + 1)
    disc = np.hypot(*np.meshgrid(reach, reach)) <= distance
    # most pixels fall out by the square inside the disc, which is quick; the disc then decides about the rest
    inner = 2 * int(distance / 2**0.5) + 1
    square = ndimage.maximum_filter(known, size=inner, mode="constant", cval=-np.inf)
    rows, cols = np.nonzero((known == square) & (known >= least))
    order = np.lexsort((cols, rows, -known[rows, cols]))
    return _apart(known, np.stack([rows, cols], axis=1)[order], disc)


def _apart(known: NDArray[np.floating], points: NDArray[np.int64], disc: NDArray[np.bool_]) -> Peaks:
    """The points that are highest in their disc and outside the discs of those before."""
    reach = len(disc) // 2
    padded = np.pad(known, reach, constant_values=-np.inf)
    taken = np.zeros(padded.shape, bool)
    kept = []
    for i, (row, col) in enumerate(points):
        around = slice(row, row + len(disc)), slice(col, col + len(disc))
        if not taken[row + reach, col + reach] and known[row, col] >= padded[around][disc].max():
            taken[around] |= disc
            kept.append(i)
    found = points[kept].reshape(-1, 2)
    return Peaks(points=found, scores=known[found[:, 0], found[:, 1]])
