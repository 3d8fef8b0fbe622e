"""A scene read on the pixels of another one, whatever its CRS, its extent and the size of its pixels.

Where its pixels are finer it is first shrunk to about the other's (`Scene.gridded`); then it is interpolated by cubic
convolution (Keys 1981, a = -0.5). Weights come from places in the whole scene, so a pixel has the same value, to the
bit, in whichever window it is read; where both share their pixels it is the value of the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError
from earthwords.geo.grids.placement import Placement
from earthwords.geo.scene import Scene
from earthwords.types import Grid, Raster, Window

FINER = 1.1
"""So many pixels along a pixel of the other scene are shrunk first."""
_CELL = 512
"""Rows and columns that are looked up at once: a turned scene needs a square around them."""

Table = NDArray[np.float32]


class AlignedScene(Scene):
    """A scene on the grid of another one; it closes the scene it was made of."""

    def __init__(self, scene: Scene, onto: Scene, *, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        """
        Args:
            scene: what is read.
            onto: gives the grids; only what both cover is the `region`.
            shift: see `Placement`, in native pixels of `onto`.

        Raises:
            UsageError: one of them has no CRS.
            SourceError: they have no ground in common.
        """
        native = Placement(target=onto.native, source=scene.native, shift=shift)
        covered = native.extent()
        region = None if covered is None else onto.region.intersect(covered)
        if region is None:
            raise SourceError(f"{scene.source} has no ground in common with {onto.source}.")
        super().__init__(
            scene._pixels, native=onto.native, grid=onto.grid, region=region, stretch=scene.stretch, notes=scene.notes,
            asked_gsd=onto.asked_gsd,
        )  # fmt: skip
        self._onto, self.shift = onto, shift
        self.taken = scene.taken
        self._inner = scene.gridded(_shape(scene.native, native.zoom))
        self._placement = Placement(target=onto.native, source=self._inner.grid, shift=shift)
        self.table: Table | None = None
        """`(3, 256)`, what becomes of a brightness of 0..255 in each band, as 0..1; None: nothing."""

    def shifted(self, shift: tuple[float, float]) -> AlignedScene:
        """The same with another shift; both share the file."""
        twin = AlignedScene(self._inner, self._onto, shift=shift)
        twin.grid, twin.table = self.grid, self.table
        return twin

    @property
    def own(self) -> Grid:
        """The grid of the file itself."""
        return self._inner.native

    def others(self) -> list[Scene]:
        """See `Scene`."""
        found: list[Scene] = []
        for other in self._inner.others():
            twin = AlignedScene(other.gridded(other.native.shape), self._onto, shift=self.shift)
            twin.grid, twin.region = self.grid, self.region
            found.append(twin)
        return found

    def read_native(self, window: Window) -> Raster:
        """Not of an aligned scene.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.source} is read on another grid, where it has no values of its sensor.")

    def _stretched(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        data = np.zeros((3, window.height, window.width), np.float32)
        valid = np.zeros((window.height, window.width), bool)
        for cell in _cells(window):
            rows, cols = cell.slices_in(window)
            data[:, rows, cols], valid[rows, cols] = self._cell(cell)
        if self.table is not None:
            levels = np.rint(data * 255).astype(np.uint8)
            data = np.stack([of_band[level] for of_band, level in zip(self.table, levels, strict=True)]) * valid
        return data, valid

    def _cell(self, cell: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        rows, cols = self._placement.places(cell)
        inside = (rows > 0) & (rows < self._inner.grid.height) & (cols > 0) & (cols < self._inner.grid.width)
        rows, cols = np.where(inside, rows, np.nan) - 0.5, np.where(inside, cols, np.nan) - 0.5
        if not inside.any():
            return np.zeros((3, *inside.shape), np.float32), inside
        whole = Window(row=0, col=0, height=self._inner.grid.height, width=self._inner.grid.width)
        row, col = math.floor(np.nanmin(rows)) - 1, math.floor(np.nanmin(cols)) - 1
        stop, col_stop = math.floor(np.nanmax(rows)) + 3, math.floor(np.nanmax(cols)) + 3
        needed = Window(row=row, col=col, height=stop - row, width=col_stop - col).intersect(whole)
        assert needed is not None
        raster = self._inner.read(needed)
        data = np.asarray(raster.data, np.float32)
        return interpolated(data, raster.valid, rows, cols, first=(needed.row, needed.col))


def interpolated(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    rows: NDArray[np.float64],
    cols: NDArray[np.float64],
    *,
    first: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Values between pixels by cubic convolution.

    Args:
        data: `(band, row, col)`, 0..1.
        valid: `(row, col)`; other pixels, and those beyond the border, weigh nothing.
        rows, cols: `(row, col)` places, the middle of the first pixel of the whole at 0; NaN: nowhere.
        first: row and column of the whole at which `data` begins.

    Returns:
        float32 `(band, row, col)`, 0 where invalid, and valid `(row, col)`: where more than half of the weight fell on
        valid pixels.
    """
    known = ~np.isnan(rows)
    rows, cols = np.where(known, rows, first[0]), np.where(known, cols, first[1])
    top, left = np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64)
    down, across = _cubic(rows - top), _cubic(cols - left)
    total = np.zeros((len(data), *rows.shape))
    weight = np.zeros(rows.shape)
    height, width = valid.shape
    for i in range(4):
        row = top + (i - 1 - first[0])
        for j in range(4):
            col = left + (j - 1 - first[1])
            here = (row >= 0) & (row < height) & (col >= 0) & (col < width)
            at = np.clip(row, 0, height - 1), np.clip(col, 0, width - 1)
            share = down[i] * across[j] * (here & valid[at])
            weight += share
            total += share * data[:, *at]
    kept = known & (weight > 0.5)
    mean = np.divide(total, weight, out=np.zeros_like(total), where=kept)
    return np.clip(mean, 0, 1).astype(np.float32), kept


def _cubic(part: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Weights of the four pixels around a place that lies `part` behind the second of them."""
    t = part
    return (
        ((2 - t) * t - 1) * t / 2,
        (3 * t - 5) * t * t / 2 + 1,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )


def _shape(native: Grid, zoom: float) -> tuple[int, int]:
    """Rows and columns at which a scene is read that has `zoom` pixels along one of the other scene."""
    shrink = zoom if zoom > FINER else 1.0
    return max(1, round(native.height / shrink)), max(1, round(native.width / shrink))


def _cells(window: Window) -> Iterator[Window]:
    for row in range(window.row, window.row_stop, _CELL):
        for col in range(window.col, window.col_stop, _CELL):
            height, width = min(_CELL, window.row_stop - row), min(_CELL, window.col_stop - col)
            yield Window(row=row, col=col, height=height, width=width)
