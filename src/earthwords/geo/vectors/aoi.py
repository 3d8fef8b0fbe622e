"""An area of interest: polygons of any CRS within which alone a scene is computed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import binary_dilation
from shapely import STRtree

from earthwords.errors import SourceError, UsageError
from earthwords.geo.grids.area import PixelAreas
from earthwords.geo.vectors.features import read_features
from earthwords.geo.vectors.zones import Zones
from earthwords.types import Grid, Window

WHAT = "areas"
REACH = 2
"""Pixels of the working grid around the polygons that may weigh in a pixel inside of them."""
_BANDS = 64
"""Bands of rows of which each is measured with the size of the pixels in its middle."""


class OutsideError(UsageError):
    """No polygon touches the scene; of many scenes that one is left out."""


@dataclass(frozen=True, kw_only=True)
class Aoi:
    """Polygons as they were given; small enough to travel to other processes."""

    name: str
    """The file's, or what was handed in."""
    shapes: tuple[bytes, ...]
    """Valid polygons as WKB."""
    crs: str | None
    """In any words; None: none is known, or that of the scene."""
    of_scene: bool = False
    """The coordinates are those of the scene's own CRS."""

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the SHA-256 of shapes and CRS."""
        parts = b"".join((*self.shapes, (self.crs or "").encode()))
        return hashlib.sha256(parts).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.name} {self.digest}"

    def on(self, native: Grid, region: Window, source: str) -> AoiOnGrid:
        """It in the pixels of a scene.

        Args:
            native: the scene's own grid.
            region: the part of it that is asked for.
            source: the scene, for messages.

        Raises:
            OutsideError: it shares no ground with the region.
            UsageError: only one of both has a CRS.
        """
        crs = native.crs.to_wkt() if self.of_scene and native.crs is not None else self.crs
        polygons = np.asarray(shapely.from_wkb(list(self.shapes)))
        zones = Zones(source=self.name, names=("",) * len(polygons), shapes=polygons, crs=crs)
        placed = zones.on(native).shapes
        frame = shapely.box(region.col, region.row, region.col_stop, region.row_stop)
        shapely.prepare(frame)
        inside = shapely.intersection(placed, frame)
        touching = shapely.area(inside) > 0
        if not touching.any():
            raise OutsideError(
                f"No polygon of {self.name} lies in the part of {source} that is asked for; is it of another place?"
            )
        west, north, east, south = shapely.total_bounds(inside[touching])
        row, col = int(np.floor(north + _SNAP)), int(np.floor(west + _SNAP))
        window = Window(
            row=row, col=col, height=max(1, int(np.ceil(south - _SNAP)) - row),
            width=max(1, int(np.ceil(east - _SNAP)) - col),
        )  # fmt: skip
        return AoiOnGrid(aoi=self, native=native, window=window, shapes=placed[touching])


_SNAP = 1e-6
"""Pixels: as of bounds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AoiOnGrid:
    """An area of interest in the pixels of a scene."""

    aoi: Aoi
    native: Grid
    """The scene's own."""
    window: Window
    """What it touches of the part that is asked for."""
    shapes: NDArray[np.object_]
    """`(n,)` polygons in native pixels, x to the right, y down, whole numbers are corners."""

    def inside(self, window: Window, shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """`(row, col)`: pixels whose middle lies in a polygon.

        Args:
            window: of the native grid, or of one of `shape` over the same ground.
        """
        return self._burnt(window, shape or self.native.shape)

    def near(self, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """`(row, col)`: pixels of a grid of `shape` over the same ground that may weigh in a pixel inside."""
        wide = Window(
            row=window.row - REACH, col=window.col - REACH, height=window.height + 2 * REACH,
            width=window.width + 2 * REACH,
        )  # fmt: skip
        touched = self._burnt(wide, shape, all_touched=True)
        if not touched.any():
            return np.zeros((window.height, window.width), bool)
        square = np.ones((2 * REACH + 1, 2 * REACH + 1), bool)
        return np.asarray(binary_dilation(touched, square)[REACH:-REACH, REACH:-REACH])

    def holds(self, pixels: NDArray[np.int64], shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        """`(n,)`: which of some pixels `(n, 2)`, row and column, have their middle in a polygon.

        Args:
            shape: of the grid over the same ground that they are of; default: the native one.
        """
        tall, wide = (own / other for own, other in zip(self.native.shape, shape or self.native.shape, strict=True))
        points = shapely.points((pixels[:, 1] + 0.5) * wide, (pixels[:, 0] + 0.5) * tall)
        found = np.zeros(len(pixels), bool)
        found[self._tree.query(points, predicate="intersects")[0]] = True
        return found

    @cached_property
    def area(self) -> float:
        """Square metres (pixels without a CRS) within the part that is asked for."""
        part, areas = self.window, PixelAreas(self.native)
        whole = shapely.union_all(self.shapes)
        edges = np.unique(np.linspace(part.row, part.row_stop, min(_BANDS, part.height) + 1))
        bands = shapely.intersection(whole, shapely.box(part.col, edges[:-1], part.col_stop, edges[1:]))
        pixels = shapely.area(bands)
        middles = shapely.centroid(bands[pixels > 0])
        each = areas.at(shapely.get_y(middles), shapely.get_x(middles))
        return float((pixels[pixels > 0] * each).sum())

    @property
    def shown_area(self) -> str:
        """For people."""
        if self.native.crs is None:
            return f"{self.area:,.0f} pixels"
        hectares = self.area / 1e4
        return f"{hectares:,.4g} ha" if hectares < 1e4 else f"{hectares / 100:,.0f} km2"

    @property
    def note(self) -> str:
        """What is to be said of it."""
        return f"Only what lies within {self.aoi.name} is computed: {self.shown_area}; the rest is nodata."

    @property
    def counted_note(self) -> str:
        """The same where figures of a map are asked for."""
        return f"Only what lies within {self.aoi.name} counts: {self.shown_area}; the rest is as nodata of the map."

    @property
    def tag(self) -> str:
        """What outputs record."""
        unit = "px" if self.native.crs is None else "m2"
        return f"{self.aoi}, {self.area:.2f} {unit}"

    @cached_property
    def _tree(self) -> STRtree:
        return STRtree(self.shapes)

    def _burnt(self, window: Window, shape: tuple[int, int], *, all_touched: bool = False) -> NDArray[np.bool_]:
        tall, wide = self.native.height / shape[0], self.native.width / shape[1]
        box = shapely.box(
            window.col * wide, window.row * tall, window.col_stop * wide, window.row_stop * tall
        )  # fmt: skip
        found = self._tree.query(box, predicate="intersects")
        size = window.height, window.width
        if not len(found):
            return np.zeros(size, bool)
        grid = Affine.scale(wide, tall) @ Affine.translation(window.col, window.row)
        burnt = rasterize(self.shapes[found], out_shape=size, transform=grid, dtype="uint8", all_touched=all_touched)
        return np.asarray(burnt, bool)


def aoi_of(given: Any) -> Aoi:
    """An area of interest from a file of polygons, a GeoDataFrame or a shapely polygon in the scene's own CRS.

    Raises:
        SourceError: the file cannot be read, or holds no polygon.
        UsageError: it is none of these.
    """
    if isinstance(given, Aoi):
        return given
    if isinstance(given, shapely.Geometry):
        parts = [part for part in shapely.get_parts(given) if shapely.get_dimensions(part) == 2]
        if not parts:
            raise UsageError(f"An area of interest is a polygon that is not empty, not {given.geom_type}.")
        return Aoi(name=given.geom_type.lower(), shapes=_wkb(np.array(parts, object)), crs=None, of_scene=True)
    found = read_features(given, kinds="polygons", what=WHAT)
    name = os.path.basename(os.path.normpath(given)) if isinstance(given, (str, Path)) else found.source
    shapes = _wkb(found.geometries)
    if not shapes:
        raise SourceError(f"The polygons of {found.source} have no area, so there are no {WHAT} in it.")
    return Aoi(name=name, shapes=shapes, crs=found.crs)


def _wkb(shapes: NDArray[np.object_]) -> tuple[bytes, ...]:
    valid = shapely.make_valid(shapely.force_2d(shapes))
    return tuple(shapely.to_wkb(valid[shapely.area(valid) > 0]).tolist())
