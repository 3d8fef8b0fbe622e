"""Polygons with numbers onto the pixels of a raster, strip by strip."""

from __future__ import annotations

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import STRtree

from earthwords.geo.vectors.into_pixels import IntoPixels
from earthwords.types import Grid


class Burner:
    """Gives the number of the polygon that holds a pixel's centre."""

    def __init__(
        self, shapes: NDArray[np.object_], numbers: NDArray[np.int64], grid: Grid, crs: str | None, *, source: str
    ) -> None:
        """
        Args:
            shapes: `(n,)` polygons in `crs`.
            numbers: `(n,)` from 0.
            grid: of the raster.
            crs: of the polygons, in any words.
            source: for messages.

        Raises:
            UsageError: only one side has a CRS, or nothing leads from one to the other.
        """
        way = IntoPixels(crs, grid, source=source, onto="the map")
        self.grid, self.moved = grid, way.moved
        self._shapes = shapely.make_valid(shapely.transform(shapes, way))
        self._numbers = numbers
        self._tree = STRtree(self._shapes)

    def strip(self, row: int, height: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Numbers `(row, col)` of full-width rows, -1 in no polygon; and where polygons of different numbers meet."""
        shape = (height, self.grid.width)
        found = np.sort(self._tree.query(shapely.box(0, row, self.grid.width, row + height)))
        if not len(found):
            return np.full(shape, -1, np.int32), np.zeros(shape, bool)
        pairs = [(self._shapes[i], int(self._numbers[i]) + 1) for i in found]
        how = {"out_shape": shape, "transform": Affine.translation(0, row), "dtype": "int32", "fill": 0}
        first, last = rasterize(pairs, **how), rasterize(pairs[::-1], **how)
        return np.asarray(first, np.int32) - 1, np.asarray(first != last)
