"""The table of an index: a row a tile, GeoParquet, written in order and read in groups of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from earthwords.geo.grids.footprints import LONLAT
from earthwords.geo.vectors.write import GEOMETRY, VectorWriter
from earthwords.types import VectorLayer

SCHEMA = {
    "source": "str",
    "crs": "str",
    "row": "int32",
    "col": "int32",
    "height": "int32",
    "width": "int32",
    "gsd": "float64",
    "date": "str",
    "valid": "float32",
}
"""Columns beside the geometry: CRS of the source (None without), window in its pixels, ground sample distance that was
worked at (metres, NaN without a CRS), day (None where nobody tells), share of valid pixels."""

OBJECTS = {name: object if kind == "str" else np.dtype(kind) for name, kind in SCHEMA.items()}


def tile_writer(path: Path) -> VectorWriter:
    """Takes `VectorLayer`s with the columns of `SCHEMA`."""
    return VectorWriter(path, crs=LONLAT, schema=SCHEMA, geometry_type="Unknown")


class TileTable:
    """Reads rows by number; holds one group of rows."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self._group: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows(self, rows: NDArray[np.integer[Any]]) -> VectorLayer:
        """Some rows, in the order asked for."""
        order = np.argsort(rows, kind="stable")
        groups = np.searchsorted(self._starts, rows[order], side="right") - 1
        parts = [
            self._table(int(group)).take(rows[order][groups == group] - self._starts[group])
            for group in np.unique(groups)
        ]
        back = np.argsort(order)
        columns = {
            name: np.concatenate([np.empty(0, kind), *(_column(part, name) for part in parts)]).astype(kind)[back]
            for name, kind in OBJECTS.items()
        }
        shapes = np.concatenate([np.empty(0, object), *(_column(part, GEOMETRY) for part in parts)])
        return VectorLayer(geometries=shapely.from_wkb(shapes[back]), columns=columns, crs=LONLAT)

    def span(self, first: int, count: int) -> Iterator[VectorLayer]:
        """Rows from `first` on, in pieces."""
        for start in range(first, first + count, 4096):
            yield self.rows(np.arange(start, min(start + 4096, first + count)))

    def boxes(self) -> NDArray[np.float64]:
        """`(n, 4)`: west, south, east, north of every tile, NaN where it has no place."""
        return self._gathered(GEOMETRY, lambda wkb: shapely.bounds(shapely.from_wkb(wkb)), np.empty((0, 4)))

    def days(self) -> NDArray[np.str_]:
        """`(n,)`: the day of every tile, empty where nobody tells."""
        return self._gathered("date", lambda days: np.where(days == None, "", days).astype("U10"), np.empty(0, "U10"))  # noqa: E711

    def geometries(self, rows: NDArray[np.integer[Any]]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.object_]]]:
        """Rows, ascending, and their polygons, a group at a time."""
        for group in range(len(self._starts) - 1):
            first, stop = np.searchsorted(rows, self._starts[group : group + 2])
            if stop > first:
                chosen = np.asarray(rows[first:stop], np.int64)
                table = self._file.read_row_group(group, columns=[GEOMETRY]).take(chosen - self._starts[group])
                yield chosen, shapely.from_wkb(_column(table, GEOMETRY))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _table(self, group: int) -> Any:
        if self._group[0] != group:
            self._group = group, self._file.read_row_group(group)
        return self._group[1]

    def _gathered(self, name: str, convert: Any, empty: NDArray[Any]) -> NDArray[Any]:
        groups = (self._file.read_row_group(i, columns=[name]) for i in range(len(self._starts) - 1))
        return np.concatenate([empty, *(convert(_column(group, name)) for group in groups)])


def _column(table: Any, name: str) -> NDArray[Any]:
    return np.asarray(table.column(name).to_numpy(zero_copy_only=False))
