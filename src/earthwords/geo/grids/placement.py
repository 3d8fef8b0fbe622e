"""Where the pixels of one grid lie on another: CRS, transform, and a shift that georeferences do not tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from earthwords.errors import UsageError
from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.types import Grid, Window

Array = NDArray[np.float64]

STEP = 32
"""Pixels between the places that are projected; in between they are interpolated, off by less than 0.001 pixel."""
_OUTLINE = 65
"""Places along a side of a grid whose extent is projected."""
_SNAP = 1e-4
"""Pixels: two grids whose pixels lie together this closely share them."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Pixels of `target` looked up in `source`."""

    target: Grid
    source: Grid
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns of `target` by which what `source` shows is displaced."""

    def __post_init__(self) -> None:
        if (self.target.crs is None) != (self.source.crs is None):
            raise UsageError("One of the grids has a CRS and the other has none: where they lie together is unknown.")

    def places(self, window: Window) -> tuple[Array, Array]:
        """Rows and columns in the source, `(row, col)` each, of the middles of the pixels of a window of the target.

        Pixels begin at whole numbers, so the middle of the first is 0.5. The same pixel has the same place, to the
        bit, in every window; NaN where the projection does not reach.
        """
        rows: Array = np.arange(window.row, window.row_stop, dtype=np.float64) + 0.5 + self.shift[0]
        cols: Array = np.arange(window.col, window.col_stop, dtype=np.float64) + 0.5 + self.shift[1]
        if self._direct is not None:
            t = self._direct
            return t.d * cols[None] + t.e * rows[:, None] + t.f, t.a * cols[None] + t.b * rows[:, None] + t.c
        node_rows, row_at, row_part = _nodes(rows)
        node_cols, col_at, col_part = _nodes(cols)
        nodes = self._project(*np.meshgrid(node_cols, node_rows))
        across = [_between(node, col_at, col_part, axis=1) for node in nodes]
        found_cols, found_rows = (_between(node, row_at, row_part, axis=0) for node in across)
        return found_rows, found_cols

    def extent(self) -> Window | None:
        """The pixels of the target that the source covers, as a rectangle around them; None: none at all."""
        whole = Window(row=0, col=0, height=self.target.height, width=self.target.width)
        along = np.linspace(0, 1, _OUTLINE)
        sides = [(along, 0 * along), (along, 0 * along + 1), (0 * along, along), (0 * along + 1, along)]
        cols, rows = (np.concatenate(part) for part in zip(*sides, strict=True))
        cols, rows = self._back(cols * self.source.width, rows * self.source.height)
        known = np.isfinite(cols) & np.isfinite(rows)
        if not known.all():
            return whole
        rows, cols = rows - self.shift[0], cols - self.shift[1]
        row, col = math.floor(rows.min() + _SNAP), math.floor(cols.min() + _SNAP)
        stop, col_stop = math.ceil(rows.max() - _SNAP), math.ceil(cols.max() - _SNAP)
        return whole.intersect(Window(row=row, col=col, height=max(1, stop - row), width=max(1, col_stop - col)))

    @cached_property
    def zoom(self) -> float:
        """Pixels of the source along a pixel of the target, at the middle of what both cover."""
        around = self.extent() or Window(row=0, col=0, height=self.target.height, width=self.target.width)
        row, col = around.row + around.height // 2, around.col + around.width // 2
        cols, rows = self._project(np.array([col, col + 1.0, col]), np.array([row, row, row + 1.0]))
        area = (cols[1] - cols[0]) * (rows[2] - rows[0]) - (cols[2] - cols[0]) * (rows[1] - rows[0])
        return math.sqrt(abs(float(area))) if math.isfinite(area) and area else 1.0

    @cached_property
    def _direct(self) -> Affine | None:
        """From pixels to pixels, where both grids have the same coordinates."""
        if self.target.crs != self.source.crs:
            return None
        found = ~self.source.transform @ self.target.transform
        still = Affine.translation(round(found.c), round(found.f))
        ends = [(0, 0), (self.target.width, 0), (0, self.target.height), self.target.shape[::-1]]
        off = max(math.dist(found @ end, still @ end) for end in ends)
        return still if off < _SNAP else found

    def _project(self, cols: Any, rows: Any) -> tuple[Array, Array]:
        """Columns and rows of the target to those of the source."""
        if self._direct is not None:
            t = self._direct
            return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        return _moved(self.target, self.source, cols, rows)

    def _back(self, cols: Array, rows: Array) -> tuple[Array, Array]:
        if self._direct is not None:
            t = ~self._direct
            return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        return _moved(self.source, self.target, cols, rows)


def _moved(first: Grid, second: Grid, cols: Array, rows: Array) -> tuple[Array, Array]:
    """Columns and rows of a grid to those of another one in another CRS."""
    projected = Transformer.from_crs(first.crs, second.crs, always_xy=True)
    x, y = projected.transform(*pixel_to_crs(first, cols, rows))
    x, y = (np.where(np.isfinite(part), part, np.nan) for part in (x, y))
    t = ~second.transform
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def _nodes(places: Array) -> tuple[Array, NDArray[np.int64], Array]:
    """Nodes around places along an axis, the node before each place, and how far it is to the next, 0..1."""
    before = np.floor(places / STEP).astype(np.int64)
    nodes = np.arange(before[0], before[-1] + 2)
    return nodes * float(STEP), before - before[0], places / STEP - before


def _between(nodes: Array, at: NDArray[np.int64], part: Array, *, axis: int) -> Array:
    """Values between nodes along an axis."""
    part = part[None] if axis else part[:, None]
    return (1 - part) * nodes.take(at, axis) + part * nodes.take(at + 1, axis)
