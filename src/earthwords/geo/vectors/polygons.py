"""Polygons of a vector file, in the pixels of a raster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.paths import trouble, utf8_name
from earthwords.geo.grids.georeference import grid_of
from earthwords.geo.sources.gdal_dataset import aside, legible, open_dataset, reading
from earthwords.geo.sources.network import Network
from earthwords.geo.vectors.into_pixels import IntoPixels
from earthwords.geo.vectors.vector_files import local_vectors
from earthwords.types import Grid

CLASS_FIELDS = ("class", "class_name", "label", "category", "type")
"""Where the class of a feature is looked for."""


def raster_grid(path: str) -> Grid:
    """Where the pixels of a local raster are.

    Raises:
        SourceError: missing or not a raster.
    """

    def read() -> Grid:
        with open_dataset(path, network=Network.NONE) as dataset, reading(path, "the header", Network.NONE):
            return grid_of(dataset)[0]

    return aside(read)


def read_polygons(
    path: str, grid: Grid, *, field: str | None = None
) -> tuple[NDArray[np.object_], NDArray[np.object_], str | None]:
    """Valid polygons `(n,)` in pixels (x to the right, y down, whole numbers are corners), their classes `(n,)`
    as text, and the column these come from; None: there is none and they are empty.

    Raises:
        SourceError: missing, or not a vector file.
        UsageError: there is no such column, or only one side has a CRS.
    """
    if not os.path.isdir(path) and (why := trouble(path)) is not None:
        raise SourceError(f"{path} {why}; check the path.")
    try:
        with local_vectors(path):
            meta, wkb, columns = _read(path)
    except SourceError:
        raise
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path} holds text that is not in its encoding ({brief(error)}); save it as UTF-8."
        ) from error
    except Exception as error:  # OGR's errors have several bases
        raise SourceError(f"{path} is not a vector file that GDAL can read ({brief(error)}).") from error
    names = [str(name) for name in meta["fields"]]
    chosen = _class_field(path, names, field)
    labels = np.full(len(wkb), "", dtype=object)
    if chosen is not None:
        labels = np.array(["" if _missing(v) else str(v) for v in columns[names.index(chosen)]], dtype=object)
    shapes = shapely.from_wkb(wkb)
    kept = np.isin(shapely.get_type_id(shapes), (3, 6)) & ~shapely.is_empty(shapes)
    placed = shapely.transform(shapely.force_2d(shapes[kept]), IntoPixels(meta["crs"], grid, source=path))
    return np.asarray(shapely.make_valid(placed)), labels[kept], chosen


def _read(path: str) -> tuple[dict[str, Any], Any, list[Any]]:
    """What the file is, its shapes and columns; text of older software as well as it can be read."""
    name = utf8_name(path)
    try:
        meta, _, wkb, columns = pyogrio.raw.read(name)
        return meta, wkb, columns
    except UnicodeDecodeError:
        meta, _, wkb, columns = pyogrio.raw.read(name, encoding="latin-1")  # which keeps every byte

    def text(value: Any) -> Any:
        return legible(value.encode("latin-1")) if isinstance(value, str) else value

    fields = [text(field) for field in meta["fields"]]
    return {**meta, "fields": fields}, wkb, [[text(value) for value in column] for column in columns]


def _missing(value: Any) -> bool:
    return value is None or value != value


def _class_field(path: str, names: Sequence[str], field: str | None) -> str | None:
    if field is None:
        lower = {name.lower(): name for name in names}
        return next((lower[name] for name in CLASS_FIELDS if name in lower), None)
    if field not in names:
        raise UsageError(f"{path} has no column {field!r}; it has {', '.join(names) or 'none'}.")
    return field
