"""What was there at one date only: masks that no mask of the other date covers (DynamicEarth's existence filter)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.mask_set import MaskSet


def only_once(masks: DatedMasks, *, most: float = 0.01) -> DatedMasks:
    """Masks whose IoUs with all masks of the other date sum up to at most `most`.

    The sum counts, not the largest: two overlaps of 0.006 are enough to drop a mask. All stay where the other date has
    none.
    """
    return masks.take(overlap_sums(masks) <= most)


def overlap_sums(masks: DatedMasks) -> NDArray[np.float64]:
    """`(mask,)`: the sum of its IoUs with all masks of the other date."""
    covered = np.zeros(len(masks), np.float64)
    first, second = np.flatnonzero(~masks.second), np.flatnonzero(masks.second)
    for i, j, overlap in overlaps(masks.before, masks.after):
        covered[first[i]] += overlap
        covered[second[j]] += overlap
    return covered


def overlaps(one: MaskSet, other: MaskSet) -> Iterator[tuple[int, int, float]]:
    """Indices and IoU in pixels of each pair of masks that share any, in the order of the first and then the second."""
    order = np.argsort(other.boxes[:, 0], kind="stable")
    tops = other.boxes[order, 0]
    tallest = int(other.boxes[:, 2].max(initial=0))
    areas, other_areas = one.areas, other.areas
    for i, (top, left, mask) in enumerate(one):
        height, width = mask.shape
        near = order[np.searchsorted(tops, top - tallest) : np.searchsorted(tops, top + height)]
        rows, cols, heights, widths = other.boxes[near].T
        near = near[(rows + heights > top) & (cols < left + width) & (cols + widths > left)]
        for j in np.sort(near):
            shared = _shared(top, left, mask, other, int(j))
            if shared:
                yield i, int(j), shared / int(areas[i] + other_areas[j] - shared)


def _shared(top: int, left: int, mask: NDArray[np.bool_], other: MaskSet, j: int) -> int:
    """Pixels of both."""
    row, col, height, width = (int(n) for n in other.boxes[j])
    rows = slice(max(top, row), min(top + mask.shape[0], row + height))
    cols = slice(max(left, col), min(left + mask.shape[1], col + width))
    mine = mask[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    theirs = other.mask(j)[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col]
    return int((mine & theirs).sum())
