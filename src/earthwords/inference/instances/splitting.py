"""Things that touch, cut apart: a region falls into the basins of its peaks."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.compiling import compiled

Array: TypeAlias = NDArray[Any]


def basins(height: Array, mask: NDArray[np.bool_], *, depth: float) -> NDArray[np.int32]:
    """A watershed: every pixel goes to the peak that it climbs to.

    Two peaks are one where the way from the lower to the higher one never sinks by `depth` of the lower peak's height
    (their dynamics, https://doi.org/10.1016/0167-8655(96)00011-0).

    Args:
        height: `(row, col)`, positive inside the mask.
        mask: `(row, col)`, connected by sides.
        depth: 0..1.

    Returns:
        `(row, col)` int32: the number of the peak from 1, 0 outside the mask.
    """
    framed = np.full((mask.shape[0] + 2, mask.shape[1] + 2), -1, np.int32)
    framed[1:-1, 1:-1][mask] = 0
    places = np.flatnonzero(framed.ravel() == 0)
    values = np.asarray(height, np.float64)[mask]
    order = np.argsort(-values, kind="stable")
    flat = np.full(framed.size, -np.inf)
    flat[places] = values
    owner = _loop()(flat, places[order], framed.shape[1], depth)
    roots = owner[places]
    _, number = np.unique(roots, return_inverse=True)
    found = np.zeros(mask.shape, np.int32)
    found[mask] = number + 1
    return found


def height_of(mask: NDArray[np.bool_], picture: Array, how: str, *, smooth: float) -> NDArray[np.float64]:
    """What the peaks are looked for in: the probability, or the distance to the border of the mask.

    Args:
        mask, picture: `(row, col)`; probabilities in any unit.
        how: of `options.SPLITS`.
        smooth: standard deviation in pixels of the Gaussian that flattens ripples.
    """
    if how == "distance":
        values = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    else:
        values = picture.astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(values, smooth, mode="constant") if smooth else values) + 1e-9


@cache
def _loop() -> Callable[..., Array]:
    @compiled()
    def flood(height: Array, order: Array, width: int, depth: float) -> Array:  # pragma: no cover, compiled
        owner = np.full(height.size, -1, np.int64)
        for place in order:
            best = -1
            for step in (-width, -1, 1, width):
                other = place + step
                if owner[other] < 0:
                    continue
                while owner[other] != other:
                    owner[other] = owner[owner[other]]
                    other = owner[other]
                if best < 0:
                    best = other
                elif other != best:
                    high, low = (best, other) if height[best] >= height[other] else (other, best)
                    if height[low] - height[place] < depth * height[low]:
                        owner[low] = high
                    best = high
            owner[place] = place if best < 0 else best
        for place in order:
            root = place
            while owner[root] != root:
                root = owner[root]
            owner[place] = root
        return owner

    return flood
