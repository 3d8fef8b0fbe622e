"""The surest of masks whose boxes cover each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def suppress(corners: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """Indices that stay, the highest score first, the lower index where scores are equal.

    Args:
        corners: `(mask, 4)`: left, top, right, bottom; widths are plain differences.
        scores: `(mask,)`.
        threshold: IoU above which the one with the lower score goes.
    """
    left, top, right, bottom = np.asarray(corners, np.float32).reshape(-1, 4).T
    areas = (right - left) * (bottom - top)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    gone, kept = np.zeros(len(order), bool), []
    for place, i in enumerate(order):
        if gone[i]:
            continue
        kept.append(i)
        rest = order[place + 1 :]
        width = np.minimum(right[i], right[rest]) - np.maximum(left[i], left[rest])
        height = np.minimum(bottom[i], bottom[rest]) - np.maximum(top[i], top[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore"):  # two boxes without area never suppress each other
            gone[rest] |= shared / (areas[i] + areas[rest] - shared) > np.float32(threshold)
    return np.array(kept, np.int64)
