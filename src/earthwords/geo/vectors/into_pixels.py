"""The way from the coordinates of a file to the pixels of a raster."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from earthwords.errors import UsageError, brief
from earthwords.geo.grids.georeference import crs_to_pixel
from earthwords.types import Grid


class IntoPixels:
    """Called with places `(n, 2)` x, y of a file: the same `(n, 2)` in pixels, x to the right, y down, corners whole.

    Coordinates for a raster without a CRS are taken as its own, whatever the file says: GeoJSON always says degrees.
    """

    def __init__(self, crs: str | CRS | None, grid: Grid, *, source: str, onto: str = "its raster") -> None:
        """
        Args:
            crs: of the file, in any words.
            grid: of the raster.
            source: the file, for messages.
            onto: the raster, for messages.

        Raises:
            UsageError: only the raster has a CRS, or nothing leads from one to the other.
        """
        self.grid = grid
        self._change: Transformer | None = None
        if grid.crs is None:
            return
        if not crs:
            raise UsageError(f"{source} has no CRS, but {onto} has one; give it that of its coordinates.")
        own = CRS.from_user_input(crs)
        if own.equals(grid.crs, ignore_axis_order=True):
            return
        try:
            self._change = Transformer.from_crs(own, grid.crs, always_xy=True)
        except ProjError as error:
            raise UsageError(f"Nothing leads from the CRS of {source} to that of {onto} ({brief(error)}).") from error

    @property
    def moved(self) -> bool:
        """Whether places are reprojected."""
        return self._change is not None

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T if self._change is None else map(np.asarray, self._change.transform(*points.T))
        with np.errstate(invalid="ignore"):  # infinite where nothing leads there
            return np.stack(crs_to_pixel(self.grid, x, y), axis=1)

    def pixels(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """`(n, 2)` row and column of places `(n, 2)` x, y, and `(n,)` whether they lie in the grid; else 0, 0."""
        places = self(points)[:, ::-1]
        with np.errstate(invalid="ignore"):
            held = (places >= 0) & (places < self.grid.shape)
        inside = held[:, 0] & held[:, 1]
        return np.floor(np.where(inside[:, None], places, 0)).astype(np.int64), inside
