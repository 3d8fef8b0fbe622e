"""From GDAL's georeference to a `Grid` and back, and from bounds to pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.crs import CRS as RasterioCRS
from rasterio.io import DatasetReader

from earthwords.errors import UsageError
from earthwords.types import Grid, Window

Bounds = tuple[float, float, float, float]
"""`(west, south, east, north)` in CRS units."""

_SNAP = 1e-6
"""In pixels: bounds this close to a pixel's edge mean that edge."""

_FAR = 1e15
"""No CRS has places or pixels as far or as large; NaN is not below it either."""


def grid_of(dataset: DatasetReader) -> tuple[Grid, tuple[str, ...]]:
    """The grid of an open dataset, and sentences on what is missing.

    A CRS without a geotransform counts as no CRS, as do ground control points and RPCs: the place of a
    pixel is then not known exactly. So does a geographic CRS with latitudes that there are not. A geotransform
    without a CRS is kept, so outputs overlay the source; one whose pixels have no area is not.
    """
    if not _has_area(dataset.transform):
        flat = Grid(height=dataset.height, width=dataset.width, transform=Affine.identity(), crs=None)
        return flat, ("A geotransform whose pixels have no area: working in pixels, areas in pixels.",)
    crs, notes = _crs_of(dataset)
    grid = Grid(height=dataset.height, width=dataset.width, transform=dataset.transform, crs=crs)
    if crs is not None and crs.is_geographic and _leaves_the_globe(grid, crs):
        why = f"The bounds {_show(grid.bounds)} cannot be degrees of {_name(crs)}"
        return replace(grid, crs=None), (*notes, f"{why}: working in pixels, areas in pixels.")
    return grid, notes


def to_rasterio_crs(crs: CRS | None) -> RasterioCRS | None:
    """The same CRS for rasterio."""
    return None if crs is None else RasterioCRS.from_wkt(crs.to_wkt())


def window_of_bounds(grid: Grid, bounds: Bounds) -> Window:
    """The pixels of `grid` touched by `bounds` (its CRS), snapped outwards and clipped to the grid.

    Raises:
        UsageError: `bounds` are not `west < east`, `south < north`, or do not touch the grid.
    """
    west, south, east, north = bounds
    if not all(map(math.isfinite, bounds)) or west >= east or south >= north:
        raise UsageError(f"Bounds {_show(bounds)} are not WEST SOUTH EAST NORTH with west < east, south < north.")
    corners = [~grid.transform @ corner for corner in ((west, south), (west, north), (east, south), (east, north))]
    cols, rows = zip(*corners, strict=True)
    col, col_stop = _snap(cols, grid.width)
    row, row_stop = _snap(rows, grid.height)
    if col >= col_stop or row >= row_stop:
        raise UsageError(
            f"Bounds {_show(bounds)} do not touch the scene, whose bounds are {_show(grid.bounds)} "
            f"in {_name(grid.crs)}."
        )
    return Window(row=row, col=col, height=row_stop - row, width=col_stop - col)


def pixel_to_crs(grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """`(x, y)` in the CRS of places in pixels (corners are whole numbers), arrays of one shape."""
    t = grid.transform
    return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f


def _has_area(transform: Affine) -> bool:
    numbers = (transform.determinant, *transform[:6])
    return transform.determinant != 0 and all(abs(number) < _FAR for number in numbers)


def _crs_of(dataset: DatasetReader) -> tuple[CRS | None, tuple[str, ...]]:
    has_transform = not dataset.transform.is_identity
    wkt = _wkt_of(dataset)
    if wkt and has_transform:
        crs = _working_crs(wkt, dataset)
        return (crs, ()) if crs else (None, ("The CRS is not understood by PROJ: areas are in pixels.",))
    if not has_transform and dataset.gcps[0]:
        why = "Only ground control points, no geotransform (warp it first, for example with gdalwarp)"
    elif not has_transform and dataset.rpcs is not None:
        why = "Only rational polynomial coefficients (RPC), no geotransform (orthorectify it first)"
    elif wkt:
        why = "A CRS but no geotransform"
    else:
        why = "No CRS"
    return None, (f"{why}: working in pixels, areas in pixels.",)


def _wkt_of(dataset: DatasetReader) -> str:
    """The file's CRS, empty if it has none; `"?"` if GDAL itself cannot say what it read."""
    try:
        return dataset.crs.to_wkt() if dataset.crs is not None and dataset.crs.wkt else ""
    except Exception:  # GDAL's own classes, which rasterio does not publish
        return "?"


def _working_crs(wkt: str, dataset: DatasetReader) -> CRS | None:
    """The CRS, if places can be taken from it to the ground and it can be written to outputs."""
    try:
        crs = CRS.from_wkt(wkt)
        to_rasterio_crs(crs)
        grid = Grid(height=dataset.height, width=dataset.width, transform=dataset.transform, crs=crs)
        if crs.is_geographic and _leaves_the_globe(grid, crs):
            return crs  # which `grid_of` has a sentence for
        gsd = grid.gsd_m
    except Exception:  # PROJ's errors, and those of GDAL, which rasterio does not publish
        return None
    return crs if gsd is not None and 0 < gsd < _FAR else None


def _leaves_the_globe(grid: Grid, crs: CRS) -> bool:
    """Whether latitudes go beyond the poles by more than a degree, which grids of the whole earth may do."""
    degrees = math.degrees(crs.axis_info[0].unit_conversion_factor)
    return max(abs(grid.bounds[1]), abs(grid.bounds[3])) * degrees > 91


def _snap(values: tuple[float, ...], length: int) -> tuple[int, int]:
    start = math.floor(min(values) + _SNAP)
    stop = math.ceil(max(values) - _SNAP)
    return max(start, 0), min(stop, length)


def _show(bounds: Bounds) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in bounds) + ")"


def _name(crs: CRS | None) -> str:
    if crs is None:
        return "pixels"
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name
