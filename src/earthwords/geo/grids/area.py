"""Square metres of pixels, in any CRS.

The corners of a lattice over the scene go to geocentric coordinates on the CRS's own ellipsoid (no datum
shift), where the area of a lattice cell is half the cross product of its diagonals. Cells are small beside
the earth and large beside rounding, and between their centres the area per pixel is interpolated. So Web
Mercator, degrees, polar grids and rotated ones all give ground areas, within 2e-4 for a map of the whole
world and far better for a scene. It also means that the area of any set of pixels is a plain sum.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.types import Grid, metres_per_unit

Array: TypeAlias = NDArray[Any]
"""float64."""

_CELLS = 256
"""Most lattice cells per axis."""
_CELL_METRES = 500.0
"""Least length of a cell, so that the tolerance of PROJ's iterations (1e-10 rad) stays negligible."""
_UNIFORM = 1e-7


class PixelAreas:
    """Area of each pixel of a grid: in square metres, or 1 (one pixel) without a CRS."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.unit = "px" if grid.crs is None else "m2"
        self._rows, self._cols, self._lattice = _lattice(grid)

    def block(self, row: int, height: int) -> Array:
        """`(height, width)`, or `(height, 1)` where all columns are alike."""
        along = _interpolate(self._lattice, self._rows, np.arange(row, row + height) + 0.5, axis=0)
        if np.ptp(self._lattice, axis=1).max() <= _UNIFORM * np.abs(self._lattice).max():
            return along[:, :1]
        return _interpolate(along, self._cols, np.arange(self.grid.width) + 0.5, axis=1)

    def at(self, rows: Array, cols: Array) -> Array:
        """`(n,)` at places `(n,)` in pixels: times its number of pixels, that of a thing's centre is the thing's."""
        (row, down), (col, right) = (_cells(places, at) for places, at in ((self._rows, rows), (self._cols, cols)))
        upper, lower = (
            self._lattice[r, col] + (self._lattice[r, col + 1] - self._lattice[r, col]) * right for r in (row, row + 1)
        )
        return np.asarray(upper + (lower - upper) * down)


def row_area_m2(grid: Grid) -> Array:
    """`(height,)` mean area of a pixel in each row, in square metres; 1 for a grid without CRS."""
    areas = PixelAreas(grid)
    return np.concatenate(
        [areas.block(row, min(256, grid.height - row)).mean(axis=1) for row in range(0, grid.height, 256)]
    )


def _lattice(grid: Grid) -> tuple[Array, Array, Array]:
    """Rows and columns of cell centres, in pixels, and the area of a pixel there `(row, col)`."""
    rows, row_step = _centres(grid.height, grid.gsd_m)
    cols, col_step = _centres(grid.width, grid.gsd_m)
    if grid.crs is None:
        return rows, cols, np.ones((len(rows), len(cols)))
    cells = _cell_areas(grid, crs=grid.crs, rows=rows, cols=cols, steps=(row_step, col_step))
    planar = abs(grid.transform.determinant) * metres_per_unit(grid.crs) ** 2
    return rows, cols, np.where(np.isfinite(cells), cells / (row_step * col_step), planar)


def _centres(length: int, gsd: float | None) -> tuple[Array, float]:
    """Cell centres from 0 to at least `length` pixels, and the step between them."""
    least = max(1.0, length / _CELLS, _CELL_METRES / gsd if gsd else 0.0)
    count = max(1, math.ceil(length / least))
    step = least if count == 1 else length / count
    return np.arange(count + 1) * step, step


def _cell_areas(grid: Grid, *, crs: CRS, rows: Array, cols: Array, steps: tuple[float, float]) -> Array:
    """Ground area of the cells around the centres; NaN where the CRS does not reach the ground."""
    row_edges = np.append(rows, rows[-1] + steps[0]) - steps[0] / 2
    col_edges = np.append(cols, cols[-1] + steps[1]) - steps[1] / 2
    corners = _geocentric(crs, *pixel_to_crs(grid, *np.meshgrid(col_edges, row_edges)))
    first = corners[1:, 1:] - corners[:-1, :-1]
    second = corners[1:, :-1] - corners[:-1, 1:]
    return np.asarray(np.linalg.norm(np.cross(first, second), axis=-1) / 2)


def _geocentric(crs: CRS, x: Array, y: Array) -> Array:
    """`(..., 3)` metres from the earth's centre, NaN where unknown."""
    geodetic = crs.geodetic_crs
    if geodetic is None or crs.ellipsoid is None:
        return np.full((*x.shape, 3), np.nan)
    if not crs.is_geographic:
        x, y = Transformer.from_crs(crs, geodetic, always_xy=True).transform(x, y)
    radians = geodetic.axis_info[0].unit_conversion_factor
    lon, lat = np.asarray(x) * radians, np.asarray(y) * radians
    major, flat = crs.ellipsoid.semi_major_metre, 1 / (crs.ellipsoid.inverse_flattening or math.inf)
    squared = flat * (2 - flat)
    with np.errstate(invalid="ignore"):
        normal = major / np.sqrt(1 - squared * np.sin(lat) ** 2)
        across = normal * np.cos(lat)
        xyz = (across * np.cos(lon), across * np.sin(lon), normal * (1 - squared) * np.sin(lat))
    return np.where(np.isfinite(lon + lat)[..., None], np.stack(xyz, axis=-1), np.nan)


def _interpolate(values: Array, places: Array, at: Array, *, axis: int) -> Array:
    """Linear interpolation along an axis at evenly spaced `places`, all of `at` lying between them."""
    left, weight = _cells(places, at)
    shape = (-1, 1) if axis == 0 else (1, -1)
    lower, upper = np.take(values, left, axis=axis), np.take(values, left + 1, axis=axis)
    return np.asarray(lower + (upper - lower) * weight.reshape(shape))


def _cells(places: Array, at: Array) -> tuple[NDArray[np.int64], Array]:
    """The place before each of `at`, and how far on it is, in steps of evenly spaced `places`."""
    step = places[1] - places[0]
    left = np.clip((at / step).astype(np.int64), 0, len(places) - 2)
    return left, at / step - left
