"""What InstructSAM makes of proposed masks: which are kept, and their holes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array: TypeAlias = NDArray[Any]

MOST = 200
"""Masks of an image that are kept."""


def selected(
    boxes: Array, areas: Array, quality: Array, shape: tuple[int, int], *, least_area: float = 0, most: int = MOST
) -> NDArray[np.int64]:
    """Indices of the masks that are kept: those that are large enough and begin in the image, in their order; of more
    than `most` the best, the best first.

    Args:
        boxes: `(mask, 4)` x, y, width, height.
        quality: `(mask,)` the mean of predicted IoU and stability.
        shape: rows and columns of the image.
    """
    height, width = shape
    kept = np.flatnonzero((areas > least_area) & (boxes[:, 0] < width) & (boxes[:, 1] < height))
    return kept if len(kept) <= most else kept[np.argsort(-quality[kept], kind="stable")[:most]]


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with its holes: what no way through the background leads out of the image from, side by side."""
    return np.asarray(ndimage.binary_fill_holes(mask))


def filled_as_authors(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """As InstructSAM's authors fill holes: background that cannot be reached from the first pixel alone is filled.

    So a mask with the first pixel becomes the whole image, and one from border to border all that lies behind it.
    """
    background, _ = ndimage.label(~mask)
    return np.asarray(background != background[0, 0]) if not mask[0, 0] else np.ones_like(mask)
