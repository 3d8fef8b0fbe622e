"""Grey values of one date as those of another, so that light and sensor do not look like change.

A value becomes the one that as many pixels of the other date lie below (scikit-image's `match_histograms`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def match_counts(source: NDArray[np.int64], like: NDArray[np.int64]) -> NDArray[np.float64]:
    """What each grey value becomes.

    Args:
        source: `(value,)` pixels of each grey value in the image that is to change.
        like: `(value,)` of the image that it shall resemble; another length is fine.

    Returns:
        `(value,)` of `source`; each value as it is where one of the images has no pixel.
    """
    present = np.flatnonzero(like)
    if not len(present) or not source.any():
        return np.arange(len(source), dtype=np.float64)
    quantiles = np.cumsum(source) / source.sum()
    found: NDArray[np.float64] = np.interp(quantiles, np.cumsum(like[present]) / like.sum(), present)
    return found


def match_histogram(
    image: NDArray[np.uint8],
    like: NDArray[np.uint8],
    *,
    valid: NDArray[Any] | None = None,
    like_valid: NDArray[Any] | None = None,
) -> NDArray[np.uint8]:
    """An image with the histogram of another, channel by channel, cut to whole grey values as the authors do.

    Args:
        image: `(row, col, channel)`.
        like: `(row, col, channel)` of any size.
        valid, like_valid: `(row, col)` bool, pixels that count; the others of `image` change all the same.
    """
    out = np.empty_like(image)
    for i in range(image.shape[-1]):
        ours, theirs = image[..., i], like[..., i]
        counts = [
            np.bincount((v if keep is None else v[keep]).ravel(), minlength=256)
            for v, keep in ((ours, valid), (theirs, like_valid))
        ]
        out[..., i] = match_counts(counts[0], counts[1]).astype(np.uint8)[ours]
    return out
