"""Zones: polygons of any vector file, such as districts or fields, of each of which figures are wanted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import MergeAlg
from rasterio.features import rasterize
from shapely import STRtree

from earthwords.errors import UsageError, brief
from earthwords.geo.vectors.features import as_text, read_features
from earthwords.geo.vectors.into_pixels import IntoPixels
from earthwords.geo.vectors.straight_edges import polygons_on
from earthwords.geo.vectors.write import VectorWriter
from earthwords.types import Grid, VectorLayer

Array: TypeAlias = NDArray[Any]

NAME_COLUMNS = ("name", "zone", "title", "label", "id", "code")
"""Where the name of a zone is looked for, first to last."""
_NUDGE = 1e-6, 3e-6
"""Pixels by which a place is moved, so that it lies on no border of two zones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Zones:
    """Polygons as their file has them."""

    source: str
    names: tuple[str, ...]
    """As a column says them, else their numbers."""
    shapes: NDArray[np.object_]
    """`(zone,)` valid polygons in `crs`."""
    crs: str | None
    numbers: tuple[int, ...] = ()
    """Of the rows of the file, from 1; empty: none was left out."""
    left_out: int = 0
    """Rows without a shape."""
    columns: dict[str, Array] = field(default_factory=dict)
    """Of the file, name to `(zone,)`."""
    named_by: str | None = None
    """The column that `names` are from; None: none is fit for it."""

    def __post_init__(self) -> None:
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(1, len(self) + 1)))

    def __len__(self) -> int:
        return len(self.shapes)

    @cached_property
    def shown(self) -> str:
        """The file's name, for messages."""
        return Path(self.source).name

    @property
    def says_degrees(self) -> bool:
        """Whether the file is a GeoJSON, which always says that its coordinates are degrees."""
        return self.source.lower().endswith((".geojson", ".json", ".geojsonl"))

    def on(self, grid: Grid) -> ZonesOnGrid:
        """Them in the pixels of a raster.

        Raises:
            UsageError: only one of both has a CRS, or nothing leads from one to the other.
        """
        if grid.crs is None and self.crs and not self.says_degrees:
            raise UsageError(
                f"{self.source} has a CRS ({CRS.from_user_input(self.crs).name}) and the scene has none, so where they "
                "lie on each other is unknown; give the scene its CRS, such as by gdal_edit.py -a_srs."
            )
        way = IntoPixels(self.crs, grid, source=self.source, onto="the scene")
        if way.moved:
            shapes, beyond = polygons_on(self.shapes, CRS.from_user_input(self.crs), grid)
        else:
            beyond = np.zeros(len(self), bool)
            shapes = shapely.make_valid(shapely.transform(self.shapes, way))
            odd = shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
            odd |= shapely.get_dimensions(shapes) < 2  # lines of no area, on which pixels would count
            shapes[odd] = [shapely.MultiPolygon(_parts(shape)) for shape in shapes[odd]]
        return ZonesOnGrid(zones=self, grid=grid, shapes=shapes, beyond=beyond)


def read_zones(path: str | Path) -> Zones:
    """The polygons of a local file.

    Raises:
        SourceError: it is missing, no vector file, or holds no polygon.
    """
    found = read_features(path, kinds="polygons", what="zones")
    shapes = shapely.make_valid(found.geometries)
    column = _name_column(found.columns)
    given = [""] * len(shapes) if column is None else [as_text(value) for value in found.columns[column]]
    numbers = tuple((found.rows + 1).tolist())
    return Zones(
        source=str(path), names=tuple(name or str(number) for name, number in zip(given, numbers, strict=True)),
        shapes=np.asarray(shapes), crs=found.crs, numbers=numbers, left_out=found.left_out, columns=found.columns,
        named_by=column,
    )  # fmt: skip


def _name_column(columns: dict[str, Array]) -> str | None:
    """One of `NAME_COLUMNS`; else the first column with text, or the first with another whole number in each row."""
    lower = {name.lower(): name for name in columns}
    usual = next((lower[name] for name in NAME_COLUMNS if name in lower), None)
    if usual is not None:
        return usual
    for name, values in columns.items():
        if any(isinstance(value, str) and value.strip() for value in values.tolist()):
            return name
    for name, values in columns.items():
        numbers = {value for value in values.tolist() if isinstance(value, int) and not isinstance(value, bool)}
        if len(numbers) == len(values):
            return name
    return None


def zones_identity(path: str | Path) -> str:
    """Name and contents of a file of zones as text: 16 hexadecimal digits of the SHA-256 of all that lies there."""
    place, digest = Path(path), hashlib.sha256()
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file():
            with file.open("rb") as opened:
                while part := opened.read(2**20):
                    digest.update(part)
    return f"{place.name} {digest.hexdigest()[:16]}"


@dataclass(frozen=True, kw_only=True, eq=False)
class ZonesOnGrid:
    """Zones in the pixels of a raster."""

    zones: Zones
    grid: Grid
    shapes: NDArray[np.object_]
    """`(zone,)`, x to the right, y down, whole numbers are corners; empty where the CRS does not reach."""
    beyond: NDArray[np.bool_]
    """`(zone,)`: those of which a part lies beyond the horizon of a raster that shows the globe from afar."""

    def __len__(self) -> int:
        return len(self.shapes)

    @cached_property
    def _tree(self) -> STRtree:
        return STRtree(self.shapes)

    @cached_property
    def touching(self) -> NDArray[np.bool_]:
        """`(zone,)`: those that share ground with the raster."""
        return np.asarray(self._inside > 0)

    @cached_property
    def reaching_out(self) -> NDArray[np.bool_]:
        """`(zone,)`: those that touch the raster and go on outside of it, or beyond its horizon."""
        out = self._inside < shapely.area(self.shapes) * (1 - 1e-9)
        return np.asarray(self.touching & (self.beyond | out))

    @cached_property
    def _inside(self) -> NDArray[np.float64]:
        """`(zone,)` pixels of each within the raster."""
        frame = shapely.box(0, 0, self.grid.width, self.grid.height)
        shapely.prepare(frame)
        found = np.asarray(shapely.area(self.shapes))
        out = ~shapely.covers(frame, self.shapes)
        found[out] = shapely.area(shapely.intersection(self.shapes[out], frame))
        return found

    def holding(self, places: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which place lies in which zone: indices of places, and of zones; a place may lie in several, or none.

        A place on the border of two zones lies in one of them.

        Args:
            places: `(n, 2)` x, y in pixels.
        """
        if not len(places):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        pairs = self._tree.query(shapely.points(np.asarray(places, np.float64) + _NUDGE), predicate="within")
        order = np.lexsort((pairs[1], pairs[0]))
        return pairs[0][order], pairs[1][order]

    def strip(self, row: int, height: int) -> tuple[NDArray[np.int32], Iterator[tuple[slice, NDArray[np.int32]]]]:
        """Full-width rows: in how many zones each pixel's middle lies `(row, col)`; and columns with the zone of each
        pixel there `(row, columns)`, -1 for none: as often as there are zones that lie on each other."""
        found = np.sort(self._tree.query(shapely.box(0, row, self.grid.width, row + height), predicate="intersects"))
        cover = self._burnt(found, np.ones(len(found), np.int32), row, height, merge_alg=MergeAlg.add)
        return cover, self._layers(found, row, cover)

    def _layers(self, found: Array, row: int, cover: Array) -> Iterator[tuple[slice, NDArray[np.int32]]]:
        height, width = cover.shape
        most = int(cover.max(initial=0))
        if 0 < most <= 2:  # one is the upper, one the lower
            yield slice(0, width), self._burnt(found, found + 1, row, height) - 1
            if most == 2:
                lower = self._burnt(found[::-1], found[::-1] + 1, row, height) - 1
                yield slice(0, width), np.where(cover == 2, lower, -1)
        elif most:
            for index in found.tolist():
                left, right = (min(max(edge, 0), width) for edge in _columns(self.shapes[index]))
                if left < right:
                    one = np.array([index])
                    yield slice(left, right), self._burnt(one, one + 1, row, height, left, right) - 1

    def _burnt(
        self, which: Array, values: Array, row: int, height: int, left: int = 0, right: int | None = None, **how: Any
    ) -> NDArray[np.int32]:
        """`(row, col)`: values of zones where their pixels are, 0 elsewhere; of several that of the last one."""
        shape = height, (self.grid.width if right is None else right) - left
        if not len(which):
            return np.zeros(shape, np.int32)
        pairs = zip(self.shapes[which], values.tolist(), strict=True)
        found = rasterize(pairs, out_shape=shape, transform=Affine.translation(left, row), dtype="int32", fill=0, **how)
        return np.asarray(found, np.int32)


def write_zones(path: Path, zones: Zones, columns: dict[str, Array], *, made: Any = None) -> None:
    """The zones as polygons in their own CRS, with figures `(zone,)` by name and the columns of their file.

    A column of the file that is called as one of the figures is `NAME_before`. Figures of zones of which nothing is
    known are None.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        crs = None if zones.crs is None else CRS.from_user_input(zones.crs)
    except Exception as error:  # PROJ's
        raise UsageError(f"The CRS of {zones.source} is not known ({brief(error)}).") from error
    figures = {"zone": np.array(zones.numbers), "name": np.array(zones.names, object), **columns}
    all_columns: dict[str, Array] = {}
    schema: dict[str, str] = {}
    for name, values in _kept(zones.columns, figures).items():
        schema[name], all_columns[name] = _typed(values)
    for name, values in figures.items():
        schema[name], all_columns[name] = _typed(values, empty="int64")
    shapes = np.array([shapely.MultiPolygon(_parts(shape)) for shape in zones.shapes], object)
    how: dict[str, Any] = {"layer_name": "zones", "geometry_type": "MultiPolygon", "made": made}
    with VectorWriter(path, crs=crs, schema=schema, **how) as writer:
        writer.write(VectorLayer(geometries=shapes, columns=all_columns, crs=crs))


def _kept(columns: dict[str, Array], figures: dict[str, Array]) -> dict[str, Array]:
    """Columns of a file under names that no figure has; the one that `name` repeats is left out."""
    taken = {name.lower() for name in figures} | {"fid", "geometry", "geom"}
    found: dict[str, Array] = {}
    for name, values in columns.items():
        if name.lower() == "name":
            continue
        free = name
        while free.lower() in taken:
            free = f"{free}_before"
        taken.add(free.lower())
        found[free] = values
    return found


def _typed(values: Array, empty: str = "str") -> tuple[str, Array]:
    """The numpy type of a column, that of nothing at all, and its values for it: None where there is none."""
    if values.dtype != object:
        return str(values.dtype), values
    present = [value for value in values.tolist() if not _missing(value)]
    if not present:
        return empty, np.full(len(values), None, object)
    for kind, classes, change in _KINDS:
        if all(isinstance(value, classes) for value in present):
            return kind, _changed(values, change)
    return "str", _changed(values, str)


def _changed(values: Array, change: Any) -> Array:
    found = np.full(len(values), None, object)
    for i, value in enumerate(values.tolist()):
        found[i] = None if _missing(value) else change(value)
    return found


def _missing(value: Any) -> bool:
    return value is None or (not isinstance(value, str) and str(value) in ("nan", "NaT", "<NA>"))


_WHOLE = (int, np.integer)
_KINDS: tuple[tuple[str, tuple[type, ...], Any], ...] = (
    ("bool", (bool, np.bool_), bool),
    ("int64", _WHOLE, int),
    ("float64", (*_WHOLE, float, np.floating), float),
)
"""numpy's type, of which classes values are then, and how each becomes one."""


def _columns(shape: Any) -> tuple[int, int]:
    """First column of a shape, and the one behind the last."""
    return math.floor(shape.bounds[0]), math.ceil(shape.bounds[2])


def _parts(shape: Any) -> list[Any]:
    """The polygons of a shape."""
    found = shapely.get_parts(shape)
    parts = [part for one in found for part in shapely.get_parts(one)]
    return [part for part in parts if part.geom_type == "Polygon"]
