"""Non-maximum suppression of boxes: of boxes that overlap, the one with the highest score stays.

Stable: equal scores keep their order, on any processor. Sides are differences of corners, so a box of one point has no
area; two such boxes, whose quotient is 0 / 0, never suppress each other. Areas and quotients are float32 and are
compared with the threshold in double, as torchvision's on a CPU: a quotient of 3 / 5, which float32 rounds up, is above
0.6.

Cost: `kept * n` quotients, a numpy pass for each box that is kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def nms(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """Indices of the boxes that stay, in descending order of their scores.

    Args:
        boxes: `(n, 4)`: x0, y0, x1, y1.
        scores: `(n,)`.
        threshold: a box goes when its intersection with a better one that stays, by their union, is above it.
    """
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)[order]
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left, kept = np.arange(len(order)), []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = np.maximum(corners[best, :2], corners[left, :2])
        sides = np.maximum(np.minimum(corners[best, 2:], corners[left, 2:]) - low, np.float32(0))
        common = sides[:, 0] * sides[:, 1]
        with np.errstate(invalid="ignore"):
            share = common / (areas[best] + areas[left] - common)
        left = left[~(share.astype(np.float64) > threshold)]
    return order[np.array(kept, np.int64)].astype(np.int64)
