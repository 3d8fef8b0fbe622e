"""Local rasters as a server opens them: as plain files alone, off the network, always at a place on the map."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.crs import CRS as RasterioCRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from earthwords.errors import Caution, SourceError, UsageError
from earthwords.files.paths import utf8_name
from earthwords.geo.grids.crs import name_of, wkt_of
from earthwords.geo.grids.georeference import Bounds, grid_of, window_of_bounds
from earthwords.geo.sources.gdal_dataset import GDAL_ERRORS, gdal_environment, one_line
from earthwords.geo.sources.network import Network
from earthwords.geo.sources.plain_files import check_opened, plain_driver
from earthwords.types import Grid, Window

MERCATOR = 3857
_MOST_LATITUDE = 85.0511287798066
NOWHERE = Caution(
    "The web map cannot show where it lies, as of a raster at a pole: it is shown around longitude 0, latitude 0."
)
_EDGE_STEPS = 21
"""Points a side of a rectangle that is carried to another CRS."""


@dataclass(frozen=True, kw_only=True)
class RasterFacts:
    """What the header of a raster tells."""

    grid: Grid
    """Its own; `placed` is where the map shows it."""
    placed: Grid
    """The same pixels with a CRS that leads to the earth. Without a georeference a pixel is a metre of Web Mercator,
    and the middle lies at longitude 0, latitude 0."""
    georeferenced: bool
    bands: int
    dtype: str
    crs: str | None
    """For people, such as `EPSG:32633`."""
    bounds: Bounds
    """West, south, east, north in degrees."""
    smallest: int
    """Longer side of the smallest overview, pixels; that of the raster itself without overviews."""
    notes: tuple[str, ...]


@contextmanager
def open_served(path: Path) -> Iterator[DatasetReader]:
    """Open a local raster that is a plain file; GDAL's settings hold in this thread until the block ends.

    Raises:
        SourceError: it is missing, or no raster of those kinds.
    """
    driver = plain_driver(path)
    with gdal_environment(str(path), Network.NONE), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            dataset = rasterio.open(utf8_name(path), driver=driver)
        except (*GDAL_ERRORS, OSError, UnicodeError) as error:
            raise SourceError(f"{path.name} is not a raster that is served ({one_line(error)}).") from error
        with dataset:
            check_opened(path.name, dataset)
            yield dataset


def facts_of(path: Path) -> RasterFacts:
    """What the header of a raster tells.

    Raises:
        SourceError: as `open_served`, or it has no bands.
    """
    with open_served(path) as dataset:
        if not dataset.count:
            raise SourceError(f"{path.name} has no bands, so there is nothing to show.")
        grid, notes = grid_of(dataset)
        bounds = None if grid.crs is None else lonlat_bounds(grid)
        placed = grid if bounds is not None else _around_zero(grid)
        levels = dataset.overviews(1)
        return RasterFacts(
            grid=grid,
            placed=placed,
            georeferenced=bounds is not None,
            bands=dataset.count,
            dtype=str(dataset.dtypes[0]),
            crs=_crs_name(dataset),
            bounds=bounds or lonlat_bounds(placed) or (0.0, 0.0, 0.0, 0.0),
            smallest=math.ceil(max(dataset.shape) / max(levels, default=1)),
            notes=notes if bounds is not None or grid.crs is None else (*notes, NOWHERE),
        )


@contextmanager
def on_the_map(dataset: DatasetReader, facts: RasterFacts) -> Iterator[DatasetReader | WarpedVRT]:
    """The dataset, or where it has no georeference a view of it that lies at `facts.placed`."""
    if facts.georeferenced:
        yield dataset
        return
    placed = facts.placed
    mercator = RasterioCRS.from_epsg(MERCATOR)
    with WarpedVRT(
        dataset, src_crs=mercator, src_transform=placed.transform, crs=mercator, transform=placed.transform,
        height=placed.height, width=placed.width, src_nodata=dataset.nodata,
    ) as view:  # fmt: skip
        yield view


def to_placed(facts: RasterFacts) -> Affine:
    """From a raster's own coordinates to where the map shows it, of one without a place."""
    moved: Affine = facts.placed.transform @ ~facts.grid.transform
    return moved


def placed_on(facts: RasterFacts, source: RasterFacts) -> RasterFacts:
    """Facts of a raster without a place that was made of another: it lies on that one."""
    if source.georeferenced:
        return facts
    grid = facts.grid
    transform = to_placed(source) @ grid.transform
    placed = Grid(height=grid.height, width=grid.width, transform=transform, crs=CRS.from_epsg(MERCATOR))
    return replace(facts, placed=placed, bounds=lonlat_bounds(placed) or facts.bounds)


def palette_of(dataset: DatasetReader) -> NDArray[np.uint8]:
    """`(256, 4)`: red, green, blue and alpha of every value of a raster with a colour table."""
    table = np.zeros((256, 4), np.uint8)
    for value, colour in dataset.colormap(1).items():
        if value < 256:
            table[value] = colour
    return table


def lonlat_bounds(grid: Grid) -> Bounds | None:
    """Bounds of a grid in degrees, cut where the web map ends; None if they cannot be told."""
    if grid.crs is None:
        return None
    across, down = np.meshgrid(np.linspace(0, grid.width, _EDGE_STEPS), np.linspace(0, grid.height, _EDGE_STEPS))
    t = grid.transform
    x, y = t.a * across + t.b * down + t.c, t.d * across + t.e * down + t.f
    try:
        lon, lat = Transformer.from_crs(grid.crs, CRS.from_epsg(4326), always_xy=True).transform(x, y)
    except ProjError:
        return None
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    if lon.min() >= 180:  # of a grid from 0 to 360 degrees
        lon = lon - 360
    lon, lat = np.clip(lon, -180, 180), np.clip(lat, -_MOST_LATITUDE, _MOST_LATITUDE)
    found = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
    return found if found[0] < found[2] and found[1] < found[3] else None


def window_of_lonlat(grid: Grid, bounds: Bounds) -> Window:
    """The pixels of a placed grid that bounds in degrees touch.

    Raises:
        UsageError: the bounds are none, or do not touch the grid.
    """
    west, south, east, north = bounds
    if west >= east or south >= north:
        shown = " ".join(f"{value:g}" for value in bounds)
        raise UsageError(f"Bounds {shown} are not WEST SOUTH EAST NORTH with west < east, south < north.")
    own = lonlat_bounds(grid)
    if own is not None:
        if west <= own[0] and south <= own[1] and east >= own[2] and north >= own[3]:
            return Window(row=0, col=0, height=grid.height, width=grid.width)
        if grid.crs is None or not grid.crs.is_geographic:  # far from its place a projection has no numbers
            west, south, east, north = max(west, own[0]), max(south, own[1]), min(east, own[2]), min(north, own[3])
        if west >= east or south >= north:
            shown, there = (" ".join(f"{value:g}" for value in four) for four in (bounds, own))
            raise UsageError(f"Bounds {shown} do not touch the scene, whose bounds are {there} in degrees.")
    lon, lat = np.meshgrid(np.linspace(west, east, _EDGE_STEPS), np.linspace(south, north, _EDGE_STEPS))
    x, y = _to_grid(grid, lon, lat)
    return window_of_bounds(grid, (float(x.min()), float(y.min()), float(x.max()), float(y.max())))


def pixel_of_lonlat(grid: Grid, lng: float, lat: float) -> tuple[int, int] | None:
    """Row and column of a placed grid under a place in degrees; None outside."""
    x, y = _to_grid(grid, np.array([lng]), np.array([lat]))
    if not (math.isfinite(x[0]) and math.isfinite(y[0])):
        return None
    col, row = ~grid.transform @ (float(x[0]), float(y[0]))
    inside = 0 <= row < grid.height and 0 <= col < grid.width
    return (int(row), int(col)) if inside else None


def _to_grid(grid: Grid, lon: NDArray[Any], lat: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    assert grid.crs is not None
    x, y = Transformer.from_crs(CRS.from_epsg(4326), grid.crs, always_xy=True).transform(lon, lat)
    return np.asarray(x, float), np.asarray(y, float)


def _around_zero(grid: Grid) -> Grid:
    """See `RasterFacts.placed`."""
    transform = Affine(1.0, 0.0, -grid.width / 2, 0.0, -1.0, grid.height / 2)
    return Grid(height=grid.height, width=grid.width, transform=transform, crs=CRS.from_epsg(MERCATOR))


def _crs_name(dataset: DatasetReader) -> str | None:
    """An authority's code where there is one, else the name."""
    if dataset.crs is None:
        return None
    code = dataset.crs.to_authority()
    return ":".join(code) if code else name_of(wkt_of(dataset))


def pixels_of_tile(grid: Grid, z: int, x: int, y: int, side: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Rows and columns `(side, side)` of a placed grid under the pixels of a tile of the web map, -1 outside of it.

    None: the tile lies outside altogether.
    """
    if x >= 2**z or y >= 2**z:
        return None
    half = math.pi * 6378137.0
    size = 2 * half / 2**z
    steps = np.linspace(0, side, _EDGE_STEPS)
    across = -half + x * size + steps * size / side
    down = half - y * size - steps * size / side
    assert grid.crs is not None
    own_x, own_y = Transformer.from_crs(MERCATOR, grid.crs, always_xy=True).transform(*np.meshgrid(across, down))
    if not (np.isfinite(own_x).all() and np.isfinite(own_y).all()):
        return None
    t = ~grid.transform
    centres = np.arange(side) + 0.5
    weights = np.stack([np.interp(centres, steps, row) for row in np.eye(_EDGE_STEPS)], axis=1)
    cols = np.floor(weights @ (t.a * own_x + t.b * own_y + t.c) @ weights.T).astype(np.int64)
    rows = np.floor(weights @ (t.d * own_x + t.e * own_y + t.f) @ weights.T).astype(np.int64)
    inside = (rows >= 0) & (rows < grid.height) & (cols >= 0) & (cols < grid.width)
    if not inside.any():
        return None
    return np.where(inside, rows, -1), np.where(inside, cols, -1)
