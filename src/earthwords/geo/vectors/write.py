"""Vector layers to GeoPackage, GeoJSON, FlatGeobuf, GeoParquet, shapefile or PMTiles, batch by batch."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS

from earthwords.errors import EarthwordsError, OutputError, UsageError, unknown
from earthwords.files.atomic import StagedWriter, shown, staging, without_hidden
from earthwords.files.paths import utf8_name
from earthwords.files.source_date import source_date
from earthwords.geo.grids.crs import ogr_crs
from earthwords.geo.vectors.limits import MOST_SHAPEFILE_BYTES, MOST_TEXT, shapefile_notes, short_names, zoom_levels
from earthwords.types import SourceCrs, VectorLayer

if TYPE_CHECKING:
    import geopandas

GEOMETRY = "geometry"

_BATCH_FEATURES = 20_000
"""Features collected before a file is touched."""
_CLOCK = "OGR_CURRENT_DATE"
"""https://gdal.org/en/stable/drivers/vector/gpkg.html"""


def to_geodataframe(layer: VectorLayer) -> geopandas.GeoDataFrame:
    """The same features for geopandas."""
    import geopandas

    return geopandas.GeoDataFrame(dict(layer.columns), geometry=layer.geometries, crs=layer.crs)


class VectorWriter(StagedWriter):
    """Writes batches of features; a context manager.

    The suffix decides: `.gpkg`, `.geojson` (in longitude and latitude, as RFC 7946 has it), `.fgb`, `.parquet`,
    `.shp` (names of columns cut to 10 letters) or `.pmtiles` (tiles for maps). The file appears when the block ends;
    after an exception nothing is left and an older file stays as it was.
    Equal features at an equal time make equal bytes, however many come at once.
    """

    count: int
    """Features written so far."""

    def __init__(
        self,
        path: str | Path,
        *,
        crs: CRS | None,
        schema: Mapping[str, str],
        source_crs: SourceCrs | None = None,
        layer_name: str = "polygons",
        geometry_type: str = "Polygon",
        made: datetime | None = None,
        gsd: float | None = None,
        overwrite: bool = False,
    ) -> None:
        """
        Args:
            path: the file.
            crs: of the geometries; None writes a file without CRS, unless there is a `source_crs`.
            source_crs: the same in its source's words, which are kept.
            schema: column names and numpy types (`"str"` for text), which every batch must have.
            layer_name: for GeoPackage.
            geometry_type: such as `"Polygon"` or `"Point"`, of all features; `"Unknown"` for several.
            made: the time a GeoPackage tells; by default that of the environment's SOURCE_DATE_EPOCH
                (https://reproducible-builds.org/specs/source-date-epoch/), or else now.
            gsd: ground sample distance of what the features were drawn from, metres: the zoom levels of PMTiles.
            overwrite: replace an existing file.

        Raises:
            UsageError: the suffix or SOURCE_DATE_EPOCH makes no sense, or the file exists. `with` adds: a GeoJSON or
                PMTiles cannot be in this CRS, a shapefile not of this geometry.
        """
        self.path = Path(path)
        self.count = 0
        self._sink = sink_of(self.path)
        self._how = _How(
            crs=crs,
            source_crs=source_crs,
            schema=_arrow_schema(schema),
            layer=layer_name,
            geometry_type=geometry_type,
            made=made or source_date(),
            gsd=gsd,
        )
        self._overwrite = overwrite
        self._pending: list[pa.Table] = []
        self._stack = ExitStack()

    def __enter__(self) -> VectorWriter:
        with ExitStack() as stack:
            folder = stack.enter_context(staging(self.path, overwrite=self._overwrite))
            self._file = self._sink(folder / self.path.name, self._how)
            stack.callback(self._file.abandon)
            self._stack = stack.pop_all()
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What the format could not keep, known when the features are written."""
        return tuple(self._file.notes) if hasattr(self, "_file") else ()

    def write(self, layer: VectorLayer) -> None:
        """Add features.

        Raises:
            UsageError: the columns are not those of the schema.
            OutputError: the disk is full.
        """
        self._pending.append(_to_table(layer, self._how.schema))
        self.count += len(layer)
        if sum(len(table) for table in self._pending) >= _BATCH_FEATURES:
            with _vector_writes(self.path):
                self._flush()

    def _finish(self) -> None:
        with _vector_writes(self.path):
            self._flush(everything=True)
            self._file.finish()

    def _flush(self, *, everything: bool = False) -> None:
        """Hand on whole batches, each in one piece, since some formats show where a batch ends."""
        table = pa.concat_tables([self._how.schema.empty_table(), *self._pending])
        self._pending = []
        while len(table) >= _BATCH_FEATURES or everything:
            self._file.append(table.slice(0, _BATCH_FEATURES).combine_chunks())
            table = table.slice(_BATCH_FEATURES)
            everything = everything and len(table) > 0
        self._pending = [table]


@dataclass(frozen=True, kw_only=True)
class _How:
    """What every sink needs to know."""

    crs: CRS | None
    source_crs: SourceCrs | None
    schema: pa.Schema
    layer: str
    geometry_type: str
    made: datetime | None
    gsd: float | None


class _Sink(Protocol):
    """A file under construction."""

    @property
    def notes(self) -> Sequence[str]:
        """What the format cannot keep."""

    def append(self, table: pa.Table) -> None: ...

    def finish(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:
        """Let go of the file, finished or not."""


class _GeoPackage:
    """Appends to a GeoPackage, the one vector format that streams well."""

    notes: Sequence[str] = ()

    def __init__(self, path: Path, how: _How) -> None:
        self.path = path
        self.how = how

    def append(self, table: pa.Table) -> None:
        exists = self.path.exists()
        _write_arrow(table, self.path, how=self.how, driver="GPKG", append=exists)

    def finish(self) -> None:
        _check_indexed(self.path, self.how.layer)

    def abandon(self) -> None:
        pass


class _Converted:
    """Collects in a GeoPackage and streams it into a format that is written in one go."""

    driver: str

    @property
    def notes(self) -> Sequence[str]:
        return ()

    def __init__(self, path: Path, how: _How) -> None:
        self.path = path
        self.how = how
        self.scratch = _GeoPackage(path.with_name(f"scratch-{path.name}.gpkg"), how)

    def append(self, table: pa.Table) -> None:
        self.scratch.append(table)

    def finish(self) -> None:
        with pyogrio.open_arrow(utf8_name(self.scratch.path), layer=self.how.layer) as (_, stream):
            _write_arrow(stream, self.path, how=self.how, driver=self.driver, options=self.options())

    def abandon(self) -> None:
        pass

    def options(self) -> dict[str, str]:
        return {}


class _FlatGeobuf(_Converted):
    driver = "FlatGeobuf"


class _GeoJson(_Converted):
    driver = "GeoJSON"

    def __init__(self, path: Path, how: _How) -> None:
        if how.crs is not None and how.crs.geodetic_crs is None:
            raise UsageError(
                f"GeoJSON holds longitudes and latitudes, which the CRS {how.crs.name!r} has no way to; "
                "write a .gpkg, .fgb or .parquet."
            )
        super().__init__(path, how)

    def finish(self) -> None:
        super().finish()
        _check_closed(self.path)

    def options(self) -> dict[str, str]:
        """Nine decimals are 0.1 mm, since seven (1 cm) spoil the pixels of drones."""
        return {"COORDINATE_PRECISION": "9", **({"RFC7946": "YES"} if self.how.crs else {})}


class _Shapefile(_Converted):
    """https://gdal.org/en/stable/drivers/vector/shapefile.html"""

    driver = "ESRI Shapefile"

    def __init__(self, path: Path, how: _How) -> None:
        if how.geometry_type == "Unknown":
            raise UsageError("A shapefile holds one kind of geometry, and here are several; write a .gpkg.")
        names = [name for name in how.schema.names if name != GEOMETRY]
        short = dict(zip(names, short_names(names), strict=True))
        fields = [field.with_name(short.get(field.name, GEOMETRY)) for field in how.schema]
        super().__init__(path, replace(how, schema=pa.schema(fields)))
        self._bytes, self._short = 0, short
        self._long: dict[str, int] = {}

    @property
    def notes(self) -> Sequence[str]:
        return shapefile_notes(self._short, self._long)

    def append(self, table: pa.Table) -> None:
        self._bytes += table.column(GEOMETRY).nbytes
        if self._bytes > MOST_SHAPEFILE_BYTES:
            raise OutputError(f"{shown(self.path)} would be larger than the 2 GB of a shapefile; write a .gpkg.")
        for name in self._short:
            if pa.types.is_string(table.schema.field(name).type):
                cut = sum(len((value or "").encode()) > MOST_TEXT for value in table.column(name).to_pylist())
                self._long[name] = self._long.get(name, 0) + cut
        super().append(table.rename_columns(self.how.schema.names))

    def finish(self) -> None:
        super().finish()
        if self.path.suffix != ".shp":
            os.replace(self.path.with_suffix(".shp"), self.path)

    def options(self) -> dict[str, str]:
        day = {"DBF_DATE_LAST_UPDATE": f"{self.how.made.astimezone(UTC):%Y-%m-%d}"} if self.how.made else {}
        return {"ENCODING": "UTF-8", "2GB_LIMIT": "YES", **day}


class _PmTiles(_Converted):
    """https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md"""

    driver = "PMTiles"

    def __init__(self, path: Path, how: _How) -> None:
        if how.crs is None or how.crs.geodetic_crs is None:
            raise UsageError("PMTiles lie on a map of the world, and no CRS leads there from here; write a .gpkg.")
        super().__init__(path, how)

    def options(self) -> dict[str, str]:
        """Zoom levels: from the one that shows everything in a tile to the one that shows every pixel."""
        assert self.how.crs is not None
        found = pyogrio.read_info(utf8_name(self.scratch.path), layer=self.how.layer, force_total_bounds=True)
        if not found["features"]:
            raise OutputError(f"{shown(self.path)} would hold nothing, and PMTiles cannot be empty; write a .gpkg.")
        least, most = zoom_levels(found["total_bounds"], self.how.crs, self.how.gsd)
        return {"MINZOOM": str(least), "MAXZOOM": str(most), "NAME": self.how.layer}


class _GeoParquet:
    """https://geoparquet.org/releases/v1.0.0/"""

    notes: Sequence[str] = ()

    def __init__(self, path: Path, how: _How) -> None:
        crs = how.crs if how.crs or not how.source_crs else CRS.from_wkt(how.source_crs.wkt)
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": [] if how.geometry_type == "Unknown" else [how.geometry_type],
            "crs": crs.to_json_dict() if crs else None,
        }
        if how.source_crs and how.source_crs.epoch is not None:
            column["epoch"] = how.source_crs.epoch
        about = {"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
        from pyarrow import parquet as pq

        self._writer = pq.ParquetWriter(path, how.schema.with_metadata({"geo": json.dumps(about)}))

    def append(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def finish(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        with suppress(Exception):
            self._writer.close()


FORMATS: dict[str, Callable[[Path, _How], _Sink]] = {
    ".gpkg": _GeoPackage,
    ".geojson": _GeoJson,
    ".fgb": _FlatGeobuf,
    ".parquet": _GeoParquet,
    ".shp": _Shapefile,
    ".pmtiles": _PmTiles,
}


def sink_of(path: Path) -> Callable[[Path, _How], _Sink]:
    """The format for a suffix, or the error that names those there are."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise unknown("vector format", suffix or path.name, FORMATS)
    return FORMATS[suffix]


def _check_closed(path: Path) -> None:
    """GDAL does not notice when only the last bracket of a GeoJSON meets a full disk."""
    with path.open("rb") as file:
        file.seek(-min(64, path.stat().st_size), os.SEEK_END)
        if not b"".join(file.read().split()).endswith(b"]}"):
            raise OSError("the end is missing")


def _check_indexed(path: Path, layer: str) -> None:
    """GDAL adds the spatial index of a GeoPackage at the very end, and does not say when the disk is full then."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        listed = "gpkg_extensions" in tables and database.execute(
            "SELECT count(*) FROM gpkg_extensions WHERE table_name = ? AND extension_name = 'gpkg_rtree_index'",
            (layer,),
        ).fetchone() == (1,)
    if not listed:
        raise OSError("the spatial index is missing")


def _arrow_schema(schema: Mapping[str, str]) -> pa.Schema:
    fields = [
        (name, pa.string() if kind == "str" else pa.from_numpy_dtype(np.dtype(kind))) for name, kind in schema.items()
    ]
    return pa.schema([*fields, (GEOMETRY, pa.binary())])


def _to_table(layer: VectorLayer, schema: pa.Schema) -> pa.Table:
    names = [name for name in schema.names if name != GEOMETRY]
    if set(names) != set(layer.columns):
        raise UsageError(f"Expected the columns {', '.join(names)}, got {', '.join(layer.columns)}.")
    columns = [pa.array(layer.columns[name], schema.field(name).type) for name in names]
    return pa.table([*columns, pa.array(shapely.to_wkb(layer.geometries), pa.binary())], schema=schema)


def _write_arrow(
    stream: object,
    path: Path,
    *,
    how: _How,
    driver: str,
    append: bool = False,
    options: Mapping[str, str] | None = None,
) -> None:
    with _one_at_a_time, _dated(how.made), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(crs|SRS|projection|has been truncated).*")
        pyogrio.write_arrow(
            stream,
            utf8_name(path),
            driver=driver,
            layer=how.layer,
            geometry_name=GEOMETRY,
            geometry_type=how.geometry_type,
            crs=ogr_crs(how.crs, how.source_crs, epoch=driver == "GPKG"),
            append=append,
            **(options or {}),
        )


_one_at_a_time = threading.Lock()
"""Of the threads that write: the time that GDAL believes it is, and filters of warnings, are the whole process's."""


@contextmanager
def _dated(made: datetime | None) -> Iterator[None]:
    """Make GDAL believe that it is `made`, which it does for the whole process."""
    if made is None:
        yield
        return
    before = pyogrio.get_gdal_config_option(_CLOCK)
    pyogrio.set_gdal_config_options({_CLOCK: made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({_CLOCK: before})


@contextmanager
def _vector_writes(path: Path) -> Iterator[None]:
    """Turn any failure of OGR or Arrow inside the block into an `OutputError`."""
    try:
        yield
    except EarthwordsError:
        raise
    except Exception as error:  # OGR's errors have several bases, Arrow's yet another
        reason = without_hidden(" ".join(str(error).split()).rstrip("."))
        raise OutputError(f"Cannot write {shown(path)} ({reason}); is the disk full?") from error
