"""Points, lines and polygons with a column of classes: any file that OGR reads, and GeoParquet."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.paths import trouble, utf8_name
from earthwords.geo.vectors.vector_files import local_vectors

if TYPE_CHECKING:
    import geopandas  # brings pandas, seconds of imports, and most scenes are segmented without any vectors

CLASS_COLUMNS = ("class", "class_name", "classname", "label", "category", "landcover", "land_cover", "name", "type")
"""Where the class of a feature is looked for, first to last."""
_LONLAT_COLUMNS = {"X_POSSIBLE_NAMES": "lon,long,longitude", "Y_POSSIBLE_NAMES": "lat,latitude"}
"""Of a table, in degrees; other columns tell no CRS."""
_POINTS, _POLYGONS = {"Point", "MultiPoint"}, {"Polygon", "MultiPolygon"}
_ANY = _POINTS | _POLYGONS | {"LineString", "MultiLineString", "LinearRing", "GeometryCollection"}
Kinds = Literal["alike", "polygons", "mixed", "any"]
"""What a file may hold: points, or polygons; polygons alone; both; lines and collections too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorFeatures:
    """Shapes with their columns."""

    source: str
    kind: str
    """`points` where all are; else `polygons`."""
    geometries: NDArray[np.object_]
    """`(n,)` valid shapely geometries, in the file's CRS."""
    columns: dict[str, NDArray[Any]]
    """Name to `(n,)`."""
    crs: str | None
    left_out: int
    """Features without a shape."""
    rows: NDArray[np.int64]
    """`(n,)` from 0, of the file."""

    def __len__(self) -> int:
        return len(self.geometries)

    def column(self, wanted: str | None) -> str:
        """The column that holds classes.

        Raises:
            UsageError: there is no such column, or none that looks like one.
        """
        listed = ", ".join(self.columns) or "none"
        if wanted is not None:
            if wanted not in self.columns:
                raise UsageError(f"{self.source} has no column {wanted!r}; it has: {listed}.")
            return wanted
        found = self.class_column()
        if found is None:
            raise UsageError(
                f"No column of {self.source} is named class, label or name (it has: {listed}); name one with --column."
            )
        return found

    def class_column(self) -> str | None:
        """The column that looks as if it held classes, if there is one."""
        lower = {name.lower(): name for name in self.columns}
        return next((lower[name] for name in CLASS_COLUMNS if name in lower), None)

    def part(self, kept: NDArray[np.bool_]) -> VectorFeatures:
        """Some of them."""
        columns = {name: values[kept] for name, values in self.columns.items()}
        return replace(self, geometries=self.geometries[kept], columns=columns, rows=self.rows[kept])


def read_features(
    path: str | Path | geopandas.GeoDataFrame, *, kinds: Kinds = "alike", what: str = "truth"
) -> VectorFeatures:
    """All features of a local file, or of a table that is in memory.

    Args:
        kinds: of shapes that it may hold.
        what: they are, for messages.

    Raises:
        UsageError: neither a path nor a table of shapes.
        SourceError: missing, no vector file, without a shape, or with others than `kinds`.
    """
    if not isinstance(path, (str, Path)):
        return _features(_table(path, what), "the table", kinds, what)
    source = str(path)
    if not os.path.isdir(source) and (why := trouble(source)) is not None:
        raise SourceError(f"{source} {why}; check the path.")
    try:
        frame = _read(source)
    except SourceError:
        raise
    except Exception as error:  # of OGR, Arrow and geopandas, with several bases
        raise SourceError(f"{source} is not a vector file that GDAL can read ({brief(error)}).") from error
    return _features(frame, source, kinds, what)


def _table(table: Any, what: str) -> Any:
    from geopandas import GeoDataFrame

    if not isinstance(table, GeoDataFrame):
        raise UsageError(f"{what.capitalize()} {_are(what)} a file or a GeoDataFrame, not {type(table).__name__}.")
    if table.active_geometry_name is None:
        raise UsageError("The GeoDataFrame has no column of geometry; name one by its set_geometry.")
    return table


def _are(what: str) -> str:
    return "are" if what.endswith("s") else "is"


def _features(frame: Any, source: str, kinds: Kinds, what: str) -> VectorFeatures:
    from geopandas import GeoDataFrame

    shapes = frame.geometry.to_numpy() if isinstance(frame, GeoDataFrame) else np.full(len(frame), None)
    kept = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    found = {shape.geom_type for shape in shapes[kept]}
    if not found:
        table = " (a table needs columns named longitude and latitude, in degrees)" if source.endswith(".csv") else ""
        shape = {"polygons": "polygons", "any": "points, lines or polygons"}.get(kinds, "points or polygons")
        raise SourceError(f"{source} holds no {shape}{table}, so there {_are(what)} no {what} in it.")
    several: dict[Kinds, tuple[set[str], ...]] = {"alike": (_POINTS, _POLYGONS), "polygons": (_POLYGONS,)}
    allowed = {**several, "mixed": (_POINTS | _POLYGONS,), "any": (_ANY,)}[kinds]
    if not any(found <= some for some in allowed):
        wanted = {"alike": "points alone, or polygons alone", "polygons": "polygons", "mixed": "points or polygons"}
        shown = ", ".join(sorted(found - _POLYGONS if kinds == "polygons" else found))
        raise SourceError(
            f"{source} holds {shown}; {what} {_are(what)} {wanted.get(kinds, 'points, lines or polygons')}."
        )
    names = [name for name in frame.columns if name != frame.geometry.name]
    columns = {str(name): frame[name].to_numpy(dtype=object)[kept] for name in names}
    crs = None if frame.crs is None else frame.crs.to_wkt()
    return VectorFeatures(
        source=source, kind="points" if found <= _POINTS else "polygons", columns=columns, crs=crs,
        geometries=shapely.force_2d(shapes[kept]), left_out=int((~kept).sum()), rows=np.flatnonzero(kept),
    )  # fmt: skip


def _read(source: str) -> Any:
    import geopandas

    if source.lower().endswith((".parquet", ".geoparquet")):
        return geopandas.read_parquet(source)
    name = utf8_name(source)
    with local_vectors(source):
        layers = [str(name) for name, kind in pyogrio.list_layers(name) if kind is not None]
        if len(layers) > 1:
            raise SourceError(
                f"{source} holds several layers ({', '.join(layers[:8])}); save the one with the truth as a file."
            )
        how: dict[str, Any] = {"layer": layers[0]} if layers else {}
        if source.lower().endswith((".csv", ".tsv")):
            how |= _LONLAT_COLUMNS
        try:
            frame = pyogrio.read_dataframe(name, **how)
        except UnicodeDecodeError:  # text of older software
            frame = pyogrio.read_dataframe(name, encoding="cp1252", **how)
    placed = isinstance(frame, geopandas.GeoDataFrame) and frame.crs is None and "X_POSSIBLE_NAMES" in how
    return frame.set_crs(4326) if placed else frame


def as_text(value: Any) -> str:
    """A cell as the name of a class: empty where nothing was filled in; 3.0 is 3."""
    if value is None or value != value:
        return ""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return " ".join(str(value).split())
