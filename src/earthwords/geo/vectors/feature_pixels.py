"""Points and polygons that mark a scene, as pixels of it."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.geo.vectors.features import VectorFeatures
from earthwords.geo.vectors.into_pixels import IntoPixels
from earthwords.types import Grid

MOST_TRIES = 20
"""Draws a wanted pixel of a polygon that is large and thin."""


def marked_pixels(
    features: VectorFeatures, grid: Grid, *, most: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.object_]]:
    """Pixels of a grid whose centre a polygon holds, or that hold a point; of each feature at most so many, drawn.

    Args:
        features: points or polygons in a CRS.
        grid: of the scene, in any CRS.
        most: pixels a feature.
        seed: of what is drawn; other features change nothing about the pixels of one.

    Returns:
        `(n, 2)` row and column, `(n,)` the feature of each, and all features in pixels (x to the right, y down). What
        lies beside the grid has no pixels; of a polygon that holds no centre the pixel under a point inside is taken.

    Raises:
        UsageError: only one side has a CRS, or nothing leads from one to the other.
    """
    shapes = shapely.transform(features.geometries, IntoPixels(features.crs, grid, source=features.source))
    found, owner = [], []
    for i, shape in enumerate(shapes):
        points = shape.geom_type in ("Point", "MultiPoint")
        places = _of_points(shape) if points else _of_polygon(shape, grid, most, _drawing(shape, seed))
        inside = (places >= 0).all(axis=1) & (places < grid.shape).all(axis=1)
        places = np.unique(places[inside], axis=0)[:most]
        found.append(places)
        owner.append(np.full(len(places), i, np.int64))
    if not found:
        return np.zeros((0, 2), np.int64), np.zeros(0, np.int64), shapes
    return np.concatenate(found), np.concatenate(owner), shapes


def _drawing(shape: shapely.Geometry, seed: int) -> np.random.Generator:
    bounds = np.nan_to_num(shapely.bounds(shape), nan=0, posinf=0, neginf=0)
    return np.random.default_rng([seed, *np.abs(np.round(8 * bounds)).clip(max=2**40).astype(np.int64).tolist()])


def within(pixels: NDArray[np.int64], shapes: NDArray[np.object_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of a pixel `(n, 2)` and a shape: its middle lies in the polygon, or the point lies in it."""
    areas = np.flatnonzero(shapely.get_dimensions(shapes) == 2)
    middles = shapely.points(pixels[:, ::-1] + 0.5)
    inside, area = shapely.STRtree(shapely.make_valid(shapes[areas])).query(middles, predicate="within")
    owner = np.flatnonzero(shapely.get_dimensions(shapes) == 0)
    places, number = shapely.get_coordinates(shapes[owner], return_index=True)
    there: dict[tuple[float, float], list[int]] = {}
    for i, (row, col) in enumerate(np.floor(places[:, ::-1]).tolist()):
        there.setdefault((row, col), []).append(i)
    same = [(i, k) for i, (row, col) in enumerate(pixels.tolist()) for k in there.get((row, col), ())]
    of_points = np.array(same, np.int64).reshape(-1, 2)
    return np.concatenate([inside, of_points[:, 0]]), np.concatenate([areas[area], owner[number[of_points[:, 1]]]])


def _of_points(shape: shapely.Geometry) -> NDArray[np.int64]:
    places = shapely.get_coordinates(shape)
    finite = np.isfinite(places).all(axis=1)
    found: NDArray[np.int64] = np.floor(places[finite][:, ::-1]).astype(np.int64)
    return found


def _of_polygon(shape: shapely.Geometry, grid: Grid, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Centres inside, all of a small polygon, else some that are drawn."""
    bounds = shapely.bounds(shape)
    if not np.isfinite(bounds).all():
        return np.zeros((0, 2), np.int64)
    shape = shapely.make_valid(shape)
    low = np.maximum(np.floor(bounds[:2]), 0).astype(np.int64)
    high = np.minimum(np.ceil(bounds[2:]), grid.shape[::-1]).astype(np.int64)
    wide, tall = (int(side) for side in np.maximum(high - low, 0))
    if wide * tall == 0:
        return np.zeros((0, 2), np.int64)
    shapely.prepare(shape)
    if wide * tall <= most * MOST_TRIES:
        picked = np.arange(wide * tall)
    else:
        picked = np.unique(rng.integers(wide * tall, size=most * MOST_TRIES))
    cols, rows = low[0] + picked % wide, low[1] + picked // wide
    held = shapely.contains_xy(shape, cols + 0.5, rows + 0.5)
    places = np.stack([rows[held], cols[held]], axis=1)
    if not len(places):
        return _of_points(shapely.point_on_surface(shape))
    found: NDArray[np.int64] = places[rng.permutation(len(places))[:most]]
    return found
