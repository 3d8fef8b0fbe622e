"""Features between the map, in degrees, and the pixels of sources, by which alone all sources have a place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from earthwords.errors import UsageError
from earthwords.serve.library import note
from earthwords.serve.schemas import PRINTABLE
from earthwords.serve.views.picture import lonlat_of
from earthwords.types import Grid

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

MOST_FEATURES = 5_000
DECIMALS = 7
"""Of degrees: a centimetre."""


def collection(
    geometries: Sequence[Any], properties: Sequence[dict[str, Any]], grid: Grid, placed: Grid, notes: Iterable[str]
) -> dict[str, Any]:
    """A GeoJSON FeatureCollection in degrees, with notes beside the features.

    Args:
        geometries: shapely's, in the coordinates of `grid`.
        placed: where the map shows `grid`.
    """
    shapes = shapely.transform(np.array(list(geometries), object), lambda xy: _to_map(xy, grid, placed))
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(shapely.set_precision(shape, 10.0**-DECIMALS)),
         "properties": told}
        for shape, told in zip(shapes, properties, strict=True)
    ]  # fmt: skip
    return {"type": "FeatureCollection", "features": features, "notes": [note(text) for text in notes]}


def marks_on(features: dict[str, Any], grid: Grid, placed: Grid) -> GeoDataFrame:
    """Marks `{"features": [...]}` with `properties.class`, in the coordinates of `grid`.

    Raises:
        UsageError: a mark without a class or a shape.
    """
    from geopandas import GeoDataFrame

    shapes, classes = [], []
    for number, feature in enumerate(features["features"], 1):
        name = (feature.get("properties") or {}).get("class")
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"Mark {number} has no class; write its name into properties.class.")
        if not re.fullmatch(PRINTABLE, name):
            raise UsageError(f"The class of mark {number} holds a control character; write it without.")
        try:
            shapes.append(shapely.geometry.shape(feature["geometry"]))
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            raise UsageError(f"Mark {number} has no shape that GeoJSON knows.") from error
        classes.append(name)
    moved = shapely.transform(np.array(shapes, object), lambda lonlat: _from_map(lonlat, grid, placed))
    return GeoDataFrame({"class": classes}, geometry=moved, crs=grid.crs)


def _to_map(xy: NDArray[Any], grid: Grid, placed: Grid) -> NDArray[np.float64]:
    cols, rows = _applied(~grid.transform, xy)
    return lonlat_of(placed, rows, cols)


def _from_map(lonlat: NDArray[Any], grid: Grid, placed: Grid) -> NDArray[np.float64]:
    to = Transformer.from_crs(CRS.from_epsg(4326), placed.crs, always_xy=True)
    found = np.stack(to.transform(lonlat[:, 0], lonlat[:, 1]), axis=-1)
    pixels = np.stack(_applied(~placed.transform, found), axis=-1)
    return np.stack(_applied(grid.transform, pixels), axis=-1)


def _applied(t: Any, xy: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return t.a * xy[:, 0] + t.b * xy[:, 1] + t.c, t.d * xy[:, 0] + t.e * xy[:, 1] + t.f
