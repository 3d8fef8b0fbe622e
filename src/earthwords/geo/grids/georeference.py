"""From GDAL's georeference to a `Grid` and back, and from bounds to pixels."""

from __future__ import annotations

import math
from typing import Any

from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.database import get_units_map
from rasterio.io import DatasetReader

from earthwords.errors import UsageError
from earthwords.geo.grids.crs import source_crs_of, wkt_of
from earthwords.types import Grid, Window

Bounds = tuple[float, float, float, float]
"""`(west, south, east, north)` in CRS units."""

_SNAP = 1e-6
"""In pixels: bounds this close to a pixel's edge mean that edge."""

_LENGTHS = frozenset(get_units_map(category="linear")) | {"unknown"}
"""Names of units; GeoTIFFs of local CRSs often leave theirs out."""

_FAR = 1e15
"""No CRS has places or pixels as far or as large; NaN is not below it either."""


def grid_of(dataset: DatasetReader) -> tuple[Grid, tuple[str, ...]]:
    """The grid of an open dataset, and sentences on what is missing.

    Places are measured (`crs`) where the CRS leads to them: not without a geotransform, with ground control points or
    RPCs alone, in latitudes that there are not, or along heights. What the source has is kept for the outputs all the
    same: its geotransform, unless its pixels have no area, and its CRS (`source_crs`).
    """
    if not _has_area(dataset.transform):
        flat = Grid(height=dataset.height, width=dataset.width, transform=Affine.identity(), crs=None)
        return flat, ("A geotransform whose pixels have no area: working in pixels, areas in pixels.",)
    carried, notes = source_crs_of(dataset)
    shape = {"height": dataset.height, "width": dataset.width, "transform": dataset.transform}
    crs, more = _crs_of(dataset)
    return Grid(**shape, crs=crs, source_crs=carried), (*more, *notes)


def window_of_bounds(grid: Grid, bounds: Bounds) -> Window:
    """The pixels of `grid` touched by `bounds` (its CRS), snapped outwards and clipped to the grid.

    Raises:
        UsageError: `bounds` are not `west < east`, `south < north`, or do not touch the grid.
    """
    west, south, east, north = bounds
    if not all(map(math.isfinite, bounds)) or west >= east or south >= north:
        raise UsageError(f"Bounds {show_bounds(bounds)} are not WEST SOUTH EAST NORTH with west < east, south < north.")
    corners = [~grid.transform @ corner for corner in ((west, south), (west, north), (east, south), (east, north))]
    cols, rows = zip(*corners, strict=True)
    col, col_stop = _snap(cols, grid.width)
    row, row_stop = _snap(rows, grid.height)
    if col >= col_stop or row >= row_stop:
        raise UsageError(
            f"Bounds {show_bounds(bounds)} do not touch the scene, whose bounds are {show_bounds(grid.bounds)} "
            f"in {_name(grid.crs)}."
        )
    return Window(row=row, col=col, height=row_stop - row, width=col_stop - col)


def pixel_to_crs(grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """`(x, y)` in the CRS of places in pixels (corners are whole numbers), arrays of one shape."""
    return _apply(grid.transform, cols, rows)


def crs_to_pixel(grid: Grid, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns and rows, with fractions, of places in the CRS of a grid: `pixel_to_crs` backwards."""
    return _apply(~grid.transform, x, y)


def _apply(t: Affine, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def _has_area(transform: Affine) -> bool:
    numbers = (transform.determinant, *transform[:6])
    return transform.determinant != 0 and all(abs(number) < _FAR for number in numbers)


def _crs_of(dataset: DatasetReader) -> tuple[CRS | None, tuple[str, ...]]:
    """What places are measured with, and what is to be said about it."""
    has_transform = not dataset.transform.is_identity
    wkt = wkt_of(dataset)
    if wkt and has_transform:
        return _working_crs(wkt, dataset)
    if not has_transform and dataset.gcps[0]:
        why = "Only ground control points, no geotransform (warp it first, for example with gdalwarp)"
    elif not has_transform and dataset.rpcs is not None:
        why = "Only rational polynomial coefficients (RPC), no geotransform (orthorectify it first)"
    elif wkt:
        why = "A CRS but no geotransform"
    else:
        why = "No CRS"
    return None, (f"{why}: working in pixels, areas in pixels.",)


def _working_crs(wkt: str, dataset: DatasetReader) -> tuple[CRS | None, tuple[str, ...]]:
    """The CRS, if places can be taken from it to the ground."""
    try:
        crs = CRS.from_wkt(wkt)
        grid = Grid(height=dataset.height, width=dataset.width, transform=dataset.transform, crs=crs)
        if not _has_places(crs):
            why = f"The CRS {crs.name!r} ({crs.type_name}) tells no places on the ground"
            return None, (f"{why}: working in pixels, areas in pixels.",)
        if crs.is_geographic and _leaves_the_globe(grid, crs):
            why = f"The bounds {show_bounds(grid.bounds)} cannot be degrees of {_name(crs)}"
            return None, (f"{why}: working in pixels, areas in pixels.",)
        gsd = grid.gsd_m
        if gsd is not None and 0 < gsd < _FAR:
            return crs, _remarks(crs)
    except Exception:
        pass
    return None, ("The CRS is not understood by PROJ: areas are in pixels.",)


def _has_places(crs: CRS) -> bool:
    """Whether its first two axes are those of a map: not heights, not time, not X and Y of the earth's centre."""
    if crs.is_vertical or crs.is_geocentric or len(crs.axis_info) < 2:
        return False
    return not crs.is_engineering or all(axis.unit_name in _LENGTHS for axis in crs.axis_info[:2])


def _remarks(crs: CRS) -> tuple[str, ...]:
    if not crs.is_engineering:
        return ()
    return (f"The CRS {crs.name!r} is local: lengths and areas are its own, and nothing ties it to the earth.",)


def _leaves_the_globe(grid: Grid, crs: CRS) -> bool:
    """Whether latitudes go beyond the poles by more than a degree, which grids of the whole earth may do."""
    degrees = math.degrees(crs.axis_info[0].unit_conversion_factor)
    return max(abs(grid.bounds[1]), abs(grid.bounds[3])) * degrees > 91


def _snap(values: tuple[float, ...], length: int) -> tuple[int, int]:
    start = math.floor(min(values) + _SNAP)
    stop = math.ceil(max(values) - _SNAP)
    return max(start, 0), min(stop, length)


def show_bounds(bounds: Bounds) -> str:
    """For messages."""
    return "(" + ", ".join(f"{value:.10g}" for value in bounds) + ")"


def _name(crs: CRS | None) -> str:
    if crs is None:
        return "pixels"
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name
