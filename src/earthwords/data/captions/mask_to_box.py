"""M2B: masks to boxes, one for the outer boundary of every connected component of a class.

RemoteCLIP (https://arxiv.org/abs/2306.11029) follows borders; the horizontal box of an outer border is the box of
its component (8-connected), also of one that lies in a hole of another, so components are labelled instead.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.data.annotations.example import Boxes, no_boxes

_EIGHT = np.ones((3, 3), dtype=bool)
BACKGROUND, IGNORED = 0, 255
_MOST_LISTED = 2**16
"""Values in a range of so many are counted, others sorted."""


def mask_to_boxes(
    mask: NDArray[np.integer[Any]], values: Collection[int] | None = None, *, least: int = 1
) -> dict[int, Boxes]:
    """Boxes of each class: value -> `(n, 4)` pixel edges, sorted by top, left, bottom, right.

    Args:
        mask: `(row, col)` class of each pixel.
        values: those that are classes; by default all that occur but 0 (background) and 255 (ignored).
        least: pixels of the smallest component kept.
    """
    found, index = ranked(mask)
    places = ndimage.find_objects(index.astype(np.int32) + 1)
    wanted = {int(v) for v in found} - {BACKGROUND, IGNORED} if values is None else values
    boxes = {}
    for value, place in zip(found.tolist(), places, strict=True):
        if value in wanted:
            boxes[value] = _components(mask[place] == value, least) + [place[1].start, place[0].start] * 2
    return {value: found for value, found in boxes.items() if len(found)}


def ranked(values: NDArray[np.integer[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The values that occur, ascending, and of each element which of them it is."""
    low = int(values.min())
    if int(values.max()) - low >= _MOST_LISTED:
        found, index = np.unique(values, return_inverse=True)
        return found.astype(np.int64), index.reshape(values.shape)
    shifted = values.astype(np.int64) - low
    seen = np.bincount(shifted.ravel()) > 0
    return np.flatnonzero(seen) + low, (np.cumsum(seen) - 1)[shifted]


def _components(mask: NDArray[np.bool_], least: int) -> Boxes:
    labels, count = ndimage.label(mask, structure=_EIGHT)
    if not count:
        return no_boxes()
    places = ndimage.find_objects(labels)
    boxes = np.array([(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in places], dtype=np.float64)
    boxes = boxes[np.bincount(labels.ravel())[1:] >= least]
    return boxes[np.lexsort(boxes.T[[2, 3, 0, 1]])]
