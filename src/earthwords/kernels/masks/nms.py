"""Non-maximum suppression of boxes: of boxes that overlap, the one with the highest score stays.

Stable: equal scores keep their order, on any processor. Sides are differences of corners, so a box of one point has no
area; two such boxes, whose quotient is 0 / 0, never suppress each other. Areas and quotients are float32 and are
compared with the threshold in double, as torchvision's on a CPU: a quotient of 3 / 5, which float32 rounds up, is above
0.6.

Cost: a numpy pass over all boxes for each that is kept; of more than `MANY` boxes, only over those that touch it, which
a tree finds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MANY = 1024
"""Boxes from which on a tree is quicker."""


def nms(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """Indices of the boxes that stay, in descending order of their scores.

    Args:
        boxes: `(n, 4)`: x0, y0, x1, y1.
        scores: `(n,)`.
        threshold: a box goes when its intersection with a better one that stays, by their union, is above it.
    """
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)[order]
    kept = _of_many(corners, threshold) if len(order) > MANY and threshold >= 0 else _of_few(corners, threshold)
    return order[np.array(kept, np.int64)].astype(np.int64)


def _of_few(corners: NDArray[np.float32], threshold: float) -> list[int]:
    """Which of the boxes, the best first, stay."""
    left, kept = np.arange(len(corners)), []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[~_suppressed(corners, best, left, threshold)]
    return kept


def _of_many(corners: NDArray[np.float32], threshold: float) -> list[int]:
    """The same; what does not touch a box, nothing of it is shared, and a threshold of 0 or more lets it stay."""
    import shapely

    shapes = shapely.box(*corners.astype(np.float64).T)
    tree, gone, kept = shapely.STRtree(shapes), np.zeros(len(corners), bool), list[int]()
    for best in range(len(corners)):
        if gone[best]:
            continue
        kept.append(best)
        near = np.asarray(tree.query(shapes[best]), np.int64)
        near = near[(near > best) & ~gone[near]]
        gone[near[_suppressed(corners, best, near, threshold)]] = True
    return kept


def _suppressed(
    corners: NDArray[np.float32], best: int, left: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """`(left,)`: which share more than the threshold with a box."""
    one, others = corners[best], corners[left]
    own, areas = (one[2] - one[0]) * (one[3] - one[1]), (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    sides = np.maximum(np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2]), np.float32(0))
    common = sides[:, 0] * sides[:, 1]
    with np.errstate(invalid="ignore"):
        share = common / (own + areas - common)
    found: NDArray[np.bool_] = share.astype(np.float64) > threshold
    return found
