"""What a mask shows at each date, by the probabilities of words inside it (DynamicEarth's identifier)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.mask_set import MaskSet


def mean_probabilities(probabilities: NDArray[np.float32], masks: MaskSet) -> NDArray[np.float32]:
    """Mean of each class inside each mask.

    Args:
        probabilities: `(class, row, col)` of the whole grid, at its resolution or another: a cell then has the mask's
            pixel at its upper left corner (nearest), so that a small mask may have no cell.
        masks: the masks.

    Returns:
        `(mask, class)`; NaN for a mask without a cell.
    """
    height, width = probabilities.shape[1:]
    rows, cols = (np.arange(n) * m // n for n, m in ((height, masks.grid.height), (width, masks.grid.width)))
    means = np.full((len(masks), len(probabilities)), np.nan, np.float32)
    for i, (top, left, mask) in enumerate(masks):
        a, b = np.searchsorted(rows, (top, top + mask.shape[0]))
        c, d = np.searchsorted(cols, (left, left + mask.shape[1]))
        inside = mask[np.ix_(rows[a:b] - top, cols[c:d] - left)]
        if inside.any():
            means[i] = probabilities[:, a:b, c:d][:, inside].mean(axis=1, dtype=np.float64)
    return means


def mask_classes(
    means: NDArray[np.float32], *, threshold: float = 0.0, background: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The class of each mask and its mean probability; `background` below the threshold and where nothing was seen."""
    best = np.nan_to_num(means, nan=-1.0).argmax(axis=1) if len(means) else np.zeros(0, np.int64)
    score = means[np.arange(len(means)), best]
    sure = score >= threshold  # which NaN is not
    return np.where(sure, best, background), score


def identified(
    masks: DatedMasks,
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    *,
    instances: bool = True,
    background: int = 0,
) -> NDArray[np.bool_]:
    """`(mask,)`: which have become something else.

    Args:
        masks: the masks.
        before, after: `(mask,)`, the class of each mask at either date.
        instances: at its own date a mask must show something that was asked for: a house that was built is seen after,
            one that is gone was seen before.
        background: the class of what was not asked for.
    """
    own = np.where(masks.second, after, before)
    kept: NDArray[np.bool_] = (before != after) & ((own != background) | (not instances))
    return kept
