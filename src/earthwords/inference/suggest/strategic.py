"""Strategic sampling (RSE 2025, https://doi.org/10.1016/j.rse.2025.115034), on arrays: which tiles of a scene to label.

Tiles fall into 3 x 3 cells by the entropy of an existing map and by the density of edges, and every cell gives as many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthwords.inference.suggest.canny import canny, grey

TILE = 256
"""Pixels a side, as published."""
MOST_EMPTY = 0.2
"""A tile with this share of pixels that are 0 in all bands is dropped."""
SHARE = 0.025
"""Of the tiles, as published."""
LEVELS = 3


def to_bytes(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """`(band, row, col)` with the 2 % and the 98 % quantile of each band's values but 0 at 0 and 255."""
    out = np.zeros(image.shape, np.uint8)
    for band, values in zip(out, image.astype(np.float64), strict=True):
        seen = values[values != 0]
        if len(seen):
            low, high = np.quantile(seen, (0.02, 0.98))
            band[:] = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255
    return out


def empty_share(tile: NDArray[np.generic]) -> float:
    """Share of pixels of `(band, row, col)` that are 0 in all bands."""
    return float((tile == 0).all(axis=0).mean())


def entropy(shares: Sequence[float] | NDArray[np.floating]) -> float:
    """Bits of the shares `(class,)` of a tile; of a target and the rest -p log2 p - q log2 q."""
    p = np.clip(np.asarray(shares, np.float64), 1e-10, None)
    return float(-(p * np.log2(p)).sum())


def target_share(target: NDArray[np.bool_], *, top: float, left: float, bottom: float, right: float) -> float:
    """Share of a target in the pixels of a map `(row, col)` under a tile.

    Args:
        top, left, bottom, right: edges of the tile in pixels of the map; up to a row and a column more count, as in the
            authors' code.
    """
    rows = slice(max(0, math.floor(top)), math.ceil(bottom) + 1)
    cols = slice(max(0, math.floor(left)), math.ceil(right) + 1)
    part = target[rows, cols]
    return float(part.mean()) if part.size else 0.0


def edge_density(tile: NDArray[np.integer | np.floating]) -> float:
    """10 times the share of Canny's edges in a tile `(3, row, col)` red, green, blue."""
    return 10 * float(canny(grey(tile)).mean())


def levels(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Level 1 to 3 of every value: thirds of the range between the 5 % and the 95 % quantile."""
    low, high = np.quantile(values, (0.05, 0.95))
    inner = [low + (high - low) * step / LEVELS for step in range(1, LEVELS)]
    return np.searchsorted(inner, values, side="right").astype(np.int64) + 1


def counts(of: NDArray[np.integer]) -> NDArray[np.int64]:
    """Tiles in each cell `(3, 3)`, of levels `(tile, 2)`."""
    found = np.zeros((LEVELS, LEVELS), np.int64)
    np.add.at(found, tuple((of - 1).T), 1)
    return found


def quota(available: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """How many of each cell, of n in all; because of rounding up, sometimes some more.

    CellFigures of few tiles give all they have; from the first that has more than its share on, all give that share.
    """
    flat = available.ravel()
    out = np.zeros(len(flat), np.int64)
    order = np.argsort(flat, kind="stable")
    rest = n
    for place, cell in enumerate(order):
        cap = math.ceil(rest / (len(order) - place))
        if flat[cell] > cap:
            out[order[place:]] = np.minimum(cap, flat[order[place:]])
            break
        out[cell] = flat[cell]
        rest -= int(flat[cell])
    return out.reshape(available.shape)


def select(of: NDArray[np.integer], n: int, order: NDArray[np.integer]) -> NDArray[np.int64]:
    """The tiles to label: cell by cell, inside a cell whatever comes first in `order`.

    Args:
        of: `(tile, 2)` levels of entropy and edges.
        n: tiles wanted, see `quota`.
        order: a permutation of the tiles.
    """
    wanted = quota(counts(of), n)
    chosen = []
    for cell, most in np.ndenumerate(wanted):
        inside = order[(of[order] == np.array(cell) + 1).all(axis=1)]
        chosen.append(inside[:most])
    return np.concatenate(chosen).astype(np.int64)
