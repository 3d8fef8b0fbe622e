"""Where tiles lie on the earth: their outlines in longitude and latitude, and areas to compare them with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError

from earthwords.errors import UsageError, brief
from earthwords.files.paths import trouble, utf8_name
from earthwords.geo.grids.georeference import Bounds, pixel_to_crs
from earthwords.geo.vectors.vector_files import local_vectors
from earthwords.types import Grid, Window

if TYPE_CHECKING:
    from geopandas import GeoSeries

LONLAT = CRS.from_epsg(4326)
SIDES = 4
"""Straight pieces of a side: lines in a projection are curves in longitude and latitude."""
VECTOR_SUFFIXES = (".geojson", ".json", ".gpkg", ".fgb", ".shp")
"""Of files that `read_area` reads."""


def footprints(grid: Grid, windows: Sequence[Window]) -> NDArray[np.object_]:
    """`(n,)` polygons in longitude and latitude; None without a CRS, or where it or its projection has no such place.

    A window across the antimeridian has two parts, one at either end of the map.
    """
    none = np.full(len(windows), None, object)
    if grid.crs is None or not len(windows):
        return none
    boxes = np.array([(w.col, w.row, w.col + w.width, w.row + w.height) for w in windows], float)
    share = np.arange(SIDES) / SIDES
    zero, one = np.zeros(SIDES), np.ones(SIDES)
    across, down = np.concatenate([share, one, 1 - share, zero]), np.concatenate([zero, share, one, 1 - share])
    cols = boxes[:, :1] + (boxes[:, 2:3] - boxes[:, :1]) * across
    rows = boxes[:, 1:2] + (boxes[:, 3:] - boxes[:, 1:2]) * down
    try:
        transformer = Transformer.from_crs(grid.crs, LONLAT, always_xy=True)
    except ProjError:  # nothing ties a local CRS, or that of another planet, to the earth
        return none
    lon, lat = transformer.transform(*pixel_to_crs(grid, cols, rows))
    known = np.flatnonzero(np.isfinite(lon).all(axis=1) & np.isfinite(lat).all(axis=1))
    rings = np.stack([lon[known], lat[known]], axis=-1)
    none[known] = [_across(ring) if np.ptp(ring[:, 0]) > 180 else shapely.Polygon(ring) for ring in rings]
    return none


def _across(ring: NDArray[np.float64]) -> Any:
    """The polygon of a ring that crosses the antimeridian, cut there."""
    whole = shapely.Polygon(np.stack([np.where(ring[:, 0] < 0, ring[:, 0] + 360, ring[:, 0]), ring[:, 1]], axis=-1))
    west, east = (shapely.intersection(whole, shapely.box(*box)) for box in ((0, -90, 180, 90), (180, -90, 360, 90)))
    parts = [*_polygons(west), *(shapely.transform(p, lambda xy: xy - (360, 0)) for p in _polygons(east))]
    return shapely.MultiPolygon(parts)


def _polygons(shape: Any) -> list[Any]:
    return [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and not part.is_empty]


def native_windows(windows: Sequence[Window], *, working: tuple[int, int], native: tuple[int, int]) -> list[Window]:
    """Windows of the working grid in whole native pixels, rounded outwards."""
    tall, wide = native[0] / working[0], native[1] / working[1]
    found = []
    for window in windows:
        row, col = math.floor(window.row * tall + 1e-6), math.floor(window.col * wide + 1e-6)
        row_stop = min(native[0], math.ceil(window.row_stop * tall - 1e-6))
        col_stop = min(native[1], math.ceil(window.col_stop * wide - 1e-6))
        found.append(Window(row=row, col=col, height=row_stop - row, width=col_stop - col))
    return found


def area_of(bounds: Bounds | None, within: Path | None) -> Any:
    """The area asked for, in longitude and latitude: a box, the polygons of a file, what they share; None for none.

    Raises:
        UsageError: the bounds are none of the earth, or the file cannot be read or holds no polygon.
    """
    parts = ([] if bounds is None else [_box(bounds)]) + ([] if within is None else [read_area(Path(within))])
    return None if not parts else shapely.intersection_all(parts)


def _box(bounds: Bounds) -> Any:
    """West larger than east goes across the antimeridian."""
    west, south, east, north = bounds
    if not (all(map(math.isfinite, bounds)) and abs(west) <= 180 and abs(east) <= 180 and -90 <= south < north <= 90):
        raise UsageError(
            f"Bounds ({', '.join(f'{value:.10g}' for value in bounds)}) are not WEST SOUTH EAST NORTH in degrees of "
            "longitude and latitude."
        )
    if west > east:
        return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))
    return shapely.box(west, south, east, north)


@dataclass(frozen=True, kw_only=True)
class Polygons:
    """What has an area among the features of a file, one a row."""

    frame: GeoSeries
    """Without a CRS: degrees of longitude and latitude."""

    def __len__(self) -> int:
        return len(self.frame)

    def in_crs(self, crs: CRS) -> NDArray[np.object_]:
        """`(n,)` in another CRS, those that have no place there empty.

        Raises:
            UsageError: nothing leads from one CRS to the other.
        """
        frame = self.frame if self.frame.crs is not None else self.frame.set_crs(LONLAT)
        try:
            shapes = np.array(frame.to_crs(crs).make_valid().to_numpy())
        except (ProjError, ShapelyError) as error:
            raise UsageError(f"The polygons cannot be taken from {frame.crs.name} to {crs.name}.") from error
        shapes[~np.isfinite(shapely.bounds(shapes)).all(axis=1)] = shapely.Polygon()
        return np.asarray(shapes)


def read_polygons(path: Path) -> Polygons:
    """The polygons of a file.

    Raises:
        UsageError: it cannot be read, or holds no polygon.
    """
    if (why := trouble(path)) is not None:
        known = ", ".join(VECTOR_SUFFIXES)
        raise UsageError(f"There is no area at {path}, which {why}; name a file of polygons ({known}).")
    try:
        with local_vectors(path):
            frame = pyogrio.read_dataframe(utf8_name(path), columns=[])
        shapes = frame.geometry.make_valid()
        shapes = shapes[shapely.area(shapes.to_numpy()) > 0]  # of None: NaN
    except (ValueError, OSError, RuntimeError, AttributeError, ShapelyError) as error:
        raise UsageError(f"Cannot read the area in {path} ({brief(error)}); name a file of polygons.") from error
    if not len(shapes):
        raise UsageError(f"{path} holds no polygon, so there is no area to search in.")
    return Polygons(frame=shapes)


def read_area(path: Path) -> Any:
    """The union of a file's polygons in longitude and latitude; see `read_polygons`."""
    return shapely.union_all(read_polygons(path).in_crs(LONLAT))
