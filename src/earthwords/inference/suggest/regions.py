"""What FAST compares, on the cells of a tile: areas that the map gives one class, and areas of alike features.

The authors have a detector's boxes and SAM's masks; here a class's connected cells stand for the first, connected cells
of one k-means cluster of features for the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.inference.suggest import fast
from earthwords.inference.suggest.lattice import CellFigures

CLUSTERS = 6
"""Kinds of ground that a tile is parted into."""
SURE = 32
"""Cells of a class that stand for it where nothing is marked yet."""

Floats = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class TileView:
    """A tile as FAST sees it."""

    uncertainty: float
    """Of the image, see `fast.image_uncertainty`."""
    matched: Floats
    """`(n, dim)`: mean features of the regions that fit an area of the map best."""
    sure: dict[int, tuple[float, Floats]]
    """Class to the probability and the features of its surest cell."""


def tile_view(cells: CellFigures, features: Floats) -> TileView:
    """What a tile is to FAST.

    Args:
        cells: `(row, col)`.
        features: `(row, col, dim)`, 0 where not usable.
    """
    usable, best = cells.usable, cells.probabilities.argmax(axis=0)
    boxes, scores = _areas(best, cells.probabilities.max(axis=0), usable)
    regions, number = _regions(features, usable)
    edges = [_box(part) for part in ndimage.find_objects(regions)]
    found = np.array([[left, top, right - left, bottom - top] for left, top, right, bottom in edges], float)
    matches = fast.match(boxes, scores, found.reshape(-1, 4))
    means = np.zeros((number, features.shape[-1]))
    flat = regions.ravel()
    np.add.at(means, flat[flat > 0] - 1, features.reshape(len(flat), -1)[flat > 0])
    means /= np.maximum(np.bincount(flat, minlength=number + 1)[1:, None], 1)
    sure = {}
    for name in np.unique(best[usable]).tolist():
        own = np.where(usable & (best == name), cells.probabilities[name], -1)
        at = np.unravel_index(own.argmax(), own.shape)
        sure[name] = float(own[at]), features[at]
    return TileView(uncertainty=fast.image_uncertainty(matches), matched=means[matches.index], sure=sure)


def prototypes(views: list[TileView], known: Floats, classes: list[str], *, seed: int) -> tuple[dict[int, Floats], str]:
    """Class to prototypes, and what they are from: marks of two classes at least, else what the map is surest of."""
    names = sorted({name for name in classes if name})
    if len(names) > 1:
        numbers = np.array([names.index(name) if name else -1 for name in classes])
        return fast.prototypes_of(known[numbers >= 0], numbers[numbers >= 0], seed=seed), "marks"
    found: dict[int, list[tuple[float, Floats]]] = {}
    for view in views:
        for name, pair in view.sure.items():
            found.setdefault(name, []).append(pair)
    points, numbers_ = [], []
    for name, pairs in found.items():
        for _, feature in sorted(pairs, key=lambda pair: -pair[0])[:SURE]:
            points.append(feature)
            numbers_.append(name)
    return fast.prototypes_of(np.stack(points), np.array(numbers_), seed=seed), "the surest places of the map"


def _areas(best: NDArray[np.int64], sure: Floats, usable: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Boxes `(n, 4)` left, top, right, bottom of the connected cells of every class, and their mean probability."""
    boxes, scores = [], []
    for name in np.unique(best[usable]):
        labels, number = ndimage.label(usable & (best == name))
        boxes += [_box(part) for part in ndimage.find_objects(labels)]
        scores += list(np.atleast_1d(ndimage.mean(sure, labels, range(1, number + 1))))
    return np.array(boxes, float).reshape(-1, 4), np.array(scores, float)


def _regions(features: Floats, usable: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Connected cells of alike features, numbered from 1; 0 where not usable."""
    own = features[usable]
    start = own[np.linspace(0, len(own) - 1, min(CLUSTERS, len(own))).round().astype(int)]
    centres = fast.k_means(own, start, rounds=20)
    kind = np.full(usable.shape, -1)
    kind[usable] = ((own[:, None] - centres[None]) ** 2).sum(axis=-1).argmin(axis=1)
    regions, number = np.zeros(usable.shape, np.int64), 0
    for name in range(len(centres)):
        labels, count = ndimage.label(kind == name)
        regions = np.where(labels > 0, labels + number, regions)
        number += count
    return regions, number


def _box(part: tuple[slice, slice]) -> tuple[int, int, int, int]:
    return part[1].start, part[0].start, part[1].stop, part[0].stop
