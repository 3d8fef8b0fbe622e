"""Connected changes of a map: what touches by sides and goes from one class to one class, as its polygons do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.inference.change.dates.windows import Comparison

Mask = NDArray[np.bool_]

LEAST = 40
"""Pixels of a change that touch by sides, on the working grid."""


def large_pieces(mask: Mask, least: float) -> Mask:
    """The pixels of a mask that lie in 4-connected pieces of at least `least` pixels."""
    pieces, count = ndimage.label(mask)
    large = np.bincount(pieces.ravel(), minlength=count + 1) >= least
    large[0] = False
    kept: Mask = large[pieces]
    return kept


def without_specks(found: Comparison, same: NDArray[np.integer], least: float) -> Comparison:
    """The same, with no change from one class to another of fewer than `least` pixels that touch by sides.

    A smaller one that touches a larger one joins it and keeps its scores; alone it is no change.

    Args:
        same: `(row, col)`, the class of both dates where nothing changed.
        least: pixels.
    """
    count = int(max(found.before.max(initial=0), found.after.max(initial=0))) + 1
    pair = np.where(found.seen & (found.before != found.after), found.before.astype(np.int64) * count + found.after, -1)
    kept = np.full_like(pair, -1)
    for one in np.unique(pair[pair >= 0]).tolist():
        kept[large_pieces(pair == one, least)] = one
    _join(kept, np.argwhere((pair >= 0) & (kept < 0)))
    changed, gone = kept >= 0, (pair >= 0) & (kept < 0)
    return replace(
        found,
        before=np.where(changed, kept // count, np.where(gone, same, found.before)),
        after=np.where(changed, kept % count, np.where(gone, same, found.after)),
        score=np.where(gone, np.float32(0), found.score),
    )


def _join(kept: NDArray[np.int64], small: NDArray[np.intp]) -> None:
    """Give places `(n, 2)` what lies above, to the left, to the right or below, step by step, where it is not -1."""
    framed = np.pad(kept, 1, constant_values=-1)
    rows, cols = small.T + 1
    while len(rows):
        beside = np.stack([framed[rows + i, cols + j] for i, j in ((-1, 0), (0, -1), (0, 1), (1, 0))])
        found = np.take_along_axis(beside, (beside >= 0).argmax(axis=0)[None], axis=0)[0]
        if not (found >= 0).any():
            break
        framed[rows, cols] = found
        rows, cols = rows[found < 0], cols[found < 0]
    kept[:] = framed[1:-1, 1:-1]
