"""Polygons of another CRS in the pixels of a raster: straight edges there are curves here, and follow the ground."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import shapes as regions_of

from earthwords.geo.grids.georeference import crs_to_pixel, pixel_to_crs
from earthwords.types import Grid

Array: TypeAlias = NDArray[Any]

_SAMPLES = 33
"""Places a side at which it is looked where a scene lies in another CRS."""
_STEPS, _MOST_STEPS = 32, 8192
"""Pieces of an edge as long as the scene: at first, and at most."""
_ERROR = 0.02
"""Pixels that the middle of a piece may lie off the curve."""
_SEAM = 1e-12
"""Turns around the globe that polygons end before a seam, so that each side is known."""
_GAP = 0.25
"""Of the whole width: emptier than this between places of a scene, it lies on both sides of a seam, as of 180 E."""


_HORIZON = 0.5
"""Degrees: how finely the horizon of a raster that shows the globe from afar is followed. Ground is seen so flat there
that half a degree is a ten thousandth of the globe's radius."""
_INNER = 64
"""Places a side at which it is looked whether there is a horizon."""
_DEGREES = Grid(height=18_000, width=36_000, transform=Affine(0.01, 0, -180, 0, -0.01, 90), crs=CRS.from_epsg(4326))


def polygons_on(shapes: NDArray[np.object_], crs: CRS, grid: Grid) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Polygons in the pixels of a raster of another CRS, x to the right, y down.

    They are cut to the surroundings of the raster first, so that what no projection reaches, such as the poles in
    EPSG:3857, spoils nothing, and along the horizon of one that shows the globe from afar; edges get as many points as
    they need to lie within a fiftieth of a pixel.

    Args:
        shapes: `(n,)` valid polygons in `crs`.
        grid: has another CRS.

    Returns:
        `(n,)` valid polygons, empty where one does not come near the raster; and which reach beyond a horizon.

    Raises:
        ProjError: nothing leads from one CRS to the other.
    """
    assert grid.crs is not None
    way = Transformer.from_crs(crs, grid.crs, always_xy=True)
    boxes = _surroundings(crs, grid)
    nowhere, beyond = np.full(len(shapes), shapely.Polygon(), object), np.zeros(len(shapes), bool)
    if boxes is None:
        return nowhere, beyond
    frames: list[Any] = [shapely.box(*box) for box in boxes]
    if not all(_known(box, _INNER, _INNER, way).all() for box in boxes):
        if not crs.is_geographic:  # a horizon has a simple shape in degrees alone
            return polygons_on(_in_degrees(shapes, crs), CRS.from_epsg(4326), grid)
        frames = [_seen(box, way, _turn(crs) * _HORIZON / 360) for box in boxes]
        shapely.prepare(frames)
        beyond = ~np.any([shapely.covers(frame, shapes) for frame in frames], axis=0)
    cut = np.stack([shapely.intersection(shapes, frame) for frame in frames], axis=1)
    if shapely.is_empty(cut).all():
        return nowhere, beyond
    span = min(max(right - left, top - bottom) for left, bottom, right, top in (*boxes, shapely.total_bounds(cut)))
    step = span / _steps(cut, span, way, grid)
    places = _Places(way, crs, grid)
    moved = [_joined([places.moved(part) for part in _polygons(shapely.segmentize(row, step))]) for row in cut]
    return np.array(moved), beyond


def _known(box: tuple[float, float, float, float], rows: int, cols: int, way: Transformer) -> NDArray[np.bool_]:
    """`(row, col)`, from the top: whether the middles of the cells of a box have a place in the raster's CRS."""
    left, bottom, right, top = box
    x, y = (np.arange(cols) + 0.5) / cols, (np.arange(rows) + 0.5) / rows
    places = way.transform(*np.meshgrid(left + x * (right - left), top - y * (top - bottom)))
    return np.asarray(np.isfinite(places).all(axis=0))


def _seen(box: tuple[float, float, float, float], way: Transformer, cell: float) -> Any:
    """The part of a box, in degrees or the like, that has a place in the raster's CRS, along cells of such a side."""
    left, bottom, right, top = box
    rows, cols = math.ceil((top - bottom) / cell), math.ceil((right - left) / cell)
    known = _known(box, rows, cols, way)
    whole = np.pad(known, 1)
    for side in (0, 1):  # the corners of these cells have places, too
        whole = whole & np.roll(whole, 1, side) & np.roll(whole, -1, side)
    transform = Affine((right - left) / cols, 0, left, 0, (bottom - top) / rows, top)
    parts = regions_of(whole[1:-1, 1:-1].astype(np.uint8), mask=whole[1:-1, 1:-1], transform=transform)
    return shapely.union_all([shapely.geometry.shape(part) for part, _ in parts])


def _in_degrees(shapes: NDArray[np.object_], crs: CRS) -> NDArray[np.object_]:
    """Polygons in longitude and latitude."""
    pixels, _ = polygons_on(shapes, crs, _DEGREES)
    return np.asarray(shapely.transform(pixels, lambda xy: np.stack(pixel_to_crs(_DEGREES, *xy.T), axis=1)))


def _surroundings(crs: CRS, grid: Grid) -> list[tuple[float, float, float, float]] | None:
    """Boxes in a CRS that hold the raster with some room: several where it lies on both sides of a seam; None: it lies
    where the CRS does not reach."""
    back = Transformer.from_crs(grid.crs, crs, always_xy=True)
    if crs.is_geographic:
        return _around_the_globe(back, _turn(crs), grid)
    cols, rows = np.meshgrid(np.linspace(0, grid.width, _SAMPLES), np.linspace(0, grid.height, _SAMPLES))
    x, y = back.transform(*pixel_to_crs(grid, cols.ravel(), rows.ravel()))
    held = np.isfinite(x) & np.isfinite(y)
    if not held.any():
        return None
    x, y = np.asarray(x)[held], np.asarray(y)[held]
    order = np.argsort(x)
    x, y = x[order], y[order]
    splits = np.flatnonzero(np.diff(x) > _GAP * max(x[-1] - x[0], 1e-12)) + 1
    found = []
    for xs, ys in zip(np.split(x, splits), np.split(y, splits), strict=True):
        room = 4 * max(np.ptp(xs), np.ptp(ys), 1e-9) / _SAMPLES
        found.append((xs.min() - room, ys.min() - room, xs.max() + room, ys.max() + room))
    return found


def _around_the_globe(back: Transformer, turn: float, grid: Grid) -> list[tuple[float, float, float, float]] | None:
    """The same in longitude and latitude, also for longitudes from 0 to 360."""
    corners = np.array([(0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)], float).T
    x, y = pixel_to_crs(grid, *corners)
    try:
        west, south, east, north = back.transform_bounds(
            x.min(), y.min(), x.max(), y.max(), densify_pts=4 * _SAMPLES, errcheck=True
        )
    except ProjError:
        return _turns(back, grid, turn, -turn / 4, turn / 4)  # partly off the globe
    if not np.isfinite([west, south, east, north]).all():
        return None
    east += turn if west > east else 0
    room = 0.1 * max(east - west, north - south, 1e-9)
    south, north = max(south - room, -turn / 4), min(north + room, turn / 4)
    if east - west + 2 * room >= turn:
        return _turns(back, grid, turn, south, north)
    return [(west - room + k * turn, south, east + room + k * turn, north) for k in (-1, 0, 1)]


def _turns(
    back: Transformer, grid: Grid, turn: float, south: float, north: float
) -> list[tuple[float, float, float, float]]:
    """All around the globe, cut where a projection of the globe is cut: opposite to its middle."""
    steps = grid.crs.coordinate_operation if grid.crs else None
    middles = [one for one in (steps.params if steps else ()) if one.name.startswith("Longitude of")]
    middle = float(middles[0].value * middles[0].unit_conversion_factor) if middles else 0.0
    seam, room = turn * (middle / (2 * math.pi) - 0.5), turn * _SEAM
    rows = np.linspace(south, north, 9)[1:-1]
    sides = [back.transform(np.full(7, seam + side), rows, direction="INVERSE") for side in (room, turn - room)]
    with np.errstate(invalid="ignore"):
        one, other = (np.stack(crs_to_pixel(grid, *map(np.asarray, side))) for side in sides)
        apart = np.abs(one - other)
    if not (apart[np.isfinite(apart)] > 1).any():  # as around a pole
        return [(-1.5 * turn, south, 1.5 * turn, north)]
    return [(seam + k * turn + room, south, seam + (k + 1) * turn - room, north) for k in (-1, 0, 1)]


def _turn(crs: CRS) -> float:
    """All around the globe, in the unit of a geographic CRS."""
    return 2 * math.pi / float(crs.axis_info[0].unit_conversion_factor)


def _steps(cut: Array, span: float, way: Transformer, grid: Grid) -> int:
    """Pieces of an edge as long as the scene that lie on its curve."""
    steps = _STEPS
    for _ in range(3):
        first, second = _pieces(shapely.segmentize(cut, span / steps))
        if not len(first):
            return steps
        a, middle, b = (_pixels(way, grid, points) for points in (first, (first + second) / 2, second))
        with np.errstate(invalid="ignore"):
            error = np.hypot(*((a + b) / 2 - middle).T)
            near = (np.abs(b - a).max(axis=1) < 0.25 * max(grid.shape)) & _in_reach(middle, grid)
        error = error[near & np.isfinite(error)]
        worst = float(error.max()) if len(error) else 0.0
        if worst <= _ERROR:
            break
        steps = min(_MOST_STEPS, steps * math.ceil(math.sqrt(worst / _ERROR)))
    return steps


def _in_reach(places: Array, grid: Grid) -> Array:
    """Those in the raster or near it."""
    size = np.array([grid.width, grid.height])
    return np.asarray(np.all((places > -size) & (places < 2 * size), axis=1))


def _pieces(shapes: Array) -> tuple[Array, Array]:
    """Both ends of all edges: `(n, 2)` each."""
    points, ring = shapely.get_coordinates(shapely.get_rings(_polygons(shapes)), return_index=True)
    same = ring[1:] == ring[:-1]
    return points[:-1][same], points[1:][same]


def _pixels(way: Transformer, grid: Grid, points: Array) -> Array:
    x, y = way.transform(points[:, 0], points[:, 1])
    with np.errstate(invalid="ignore"):  # infinite where nothing leads there
        return np.stack(crs_to_pixel(grid, np.asarray(x), np.asarray(y)), axis=1)


class _Places:
    """Moves rings."""

    def __init__(self, way: Transformer, crs: CRS, grid: Grid) -> None:
        assert grid.crs is not None
        self.way, self.grid = way, grid
        self.turn = _turn(grid.crs) if grid.crs.is_geographic else None
        x, _ = pixel_to_crs(grid, np.array([grid.width / 2]), np.array([grid.height / 2]))
        self.middle = float(x[0])
        self.poles: list[tuple[float, Any]] = []
        if self.turn is not None:
            back = Transformer.from_crs(grid.crs, crs, always_xy=True)
            for latitude in (-self.turn / 4, self.turn / 4):
                place = back.transform(self.middle, latitude)
                if np.isfinite(place).all() and not crs.is_geographic:
                    self.poles.append((latitude, shapely.Point(place)))

    def moved(self, polygon: Any) -> Any:
        """A polygon in pixels."""
        shell, holes = polygon.exterior, polygon.interiors
        found = self._ring(shell)
        for hole in holes:
            found = shapely.difference(found, self._ring(hole))
        return found

    def _ring(self, ring: Any) -> Any:
        """The ground inside of a ring."""
        x, y = map(np.asarray, self.way.transform(*shapely.get_coordinates(ring).T))
        held = np.isfinite(x) & np.isfinite(y)
        x, y = x[held], y[held]
        if len(x) < 3:
            return shapely.Polygon()
        if self.turn is None:
            return self._polygon(x, y)
        return self._on_the_globe(ring, np.unwrap(x, period=self.turn), y, self.turn)

    def _on_the_globe(self, ring: Any, x: Array, y: Array, turn: float) -> Any:
        """A ring that may cross 180 E, or go around a pole."""
        around = np.unwrap(np.array([x[-1], x[0]]), period=turn)[1] - x[0]
        if abs(around) > turn / 2:
            inside = [pole for pole, place in self.poles if shapely.contains(shapely.Polygon(ring), place)]
            pole = inside[0] if len(inside) == 1 else math.copysign(turn / 4, float(np.mean(y)))
            end = x[0] + around
            x, y = np.r_[x, end, end, x[0]], np.r_[y, y[0], pole, pole]
        first = round((self.middle - float(x.mean())) / turn)
        left = self.middle - turn / 2
        window = self._polygon(np.array([left, left + turn, left + turn, left]), np.array([-turn, -turn, turn, turn]))
        copies = [self._polygon(x + (first + k) * turn, y) for k in (-1, 0, 1)]
        return _joined([shapely.intersection(copy, window) for copy in copies])

    def _polygon(self, x: Array, y: Array) -> Any:
        points = np.stack(crs_to_pixel(self.grid, x, y), axis=1)
        return shapely.make_valid(shapely.Polygon(points))


def _polygons(shapes: Any) -> Array:
    """All polygons of shapes, whatever collections they lie in."""
    parts = shapely.get_parts(shapely.get_parts(np.ravel(shapes)))
    return np.asarray(parts[shapely.get_type_id(parts) == 3])


def _joined(parts: list[Any]) -> Any:
    """The ground of all parts, without lines and points."""
    return shapely.union_all(_polygons(np.array(parts, object)))
