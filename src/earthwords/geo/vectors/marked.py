"""Places that somebody has marked already, in the pixels of a scene."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from earthwords.errors import SourceError, UsageError, brief
from earthwords.files.paths import trouble, utf8_name
from earthwords.geo.vectors.vector_files import local_vectors
from earthwords.types import Grid

CLASS = "class"


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkedPlaces:
    """Shapes of any kind with a class, in the CRS of their file."""

    path: str
    shapes: NDArray[np.object_]
    """`(n,)` valid shapely geometries."""
    classes: NDArray[np.object_]
    """`(n,)` text; empty in a file without a column `class`."""
    sources: NDArray[np.object_]
    """`(n,)` text: the scene, where the file tells; else empty."""
    crs: CRS | None
    unmarked: int
    """Features whose class is still empty: they count as not marked."""

    def __len__(self) -> int:
        return len(self.shapes)

    def in_pixels(self, grid: Grid, source: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Shapes in pixels of a grid (x to the right, y down) that touch it, and their classes.

        Without a CRS only those of the scene itself, where the file tells.

        Raises:
            UsageError: the scene has a CRS, and the file has none, or another that does not lead there.
        """
        inverse, change = ~grid.transform, None
        if self.crs is None and grid.crs is not None:
            raise UsageError(f"{self.path} has no CRS, but {source} has one; give it that of its coordinates.")
        if self.crs is not None and grid.crs is None:
            raise UsageError(f"{self.path} has a CRS, but {source} has none, so nobody knows where its marks lie.")
        if self.crs is not None and not self.crs.equals(grid.crs):
            try:
                change = Transformer.from_crs(self.crs, grid.crs, always_xy=True)
            except ProjError as error:
                raise UsageError(f"Nothing leads from the CRS of {self.path} to that of {source}.") from error

        def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
            x, y = points.T if change is None else map(np.asarray, change.transform(*points.T))
            return np.stack([inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f], 1)

        own = (self.sources == "") | (self.sources == source) if self.crs is None else np.ones(len(self), bool)
        placed = shapely.transform(self.shapes[own], move)
        inside = shapely.intersects(placed, shapely.box(0, 0, grid.width, grid.height))
        return placed[inside], self.classes[own][inside]

    def differs(self, grid: Grid) -> bool:
        """Whether marks are reprojected to lie in a grid."""
        return self.crs is not None and grid.crs is not None and not self.crs.equals(grid.crs)


def read_marked(path: str | Path) -> MarkedPlaces:
    """Read marks: points, lines or polygons; those with an empty `class` are still to be marked.

    Raises:
        SourceError: missing, or no vector file.
        UsageError: it holds no shape.
    """
    if not os.path.isdir(path) and (why := trouble(path)) is not None:
        raise SourceError(f"{path} {why}; name a file of marks such as .gpkg or .geojson.")
    try:
        frame = _read(str(path))
        crs = None if frame.crs is None else CRS.from_wkt(frame.crs.to_wkt())
    except SourceError:
        raise
    except (Exception, CRSError) as error:  # OGR's and Arrow's errors have several bases
        raise SourceError(f"{path} is not a vector file that GDAL can read ({brief(error)}).") from error
    shapes = frame.geometry.to_numpy() if hasattr(frame, "geometry") else np.full(len(frame), None, object)
    there = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    if not there.any():
        raise UsageError(f"{path} holds no point, line or polygon, so nothing is marked by it.")
    lower = {str(name).lower(): name for name in frame.columns}
    classes, sources = (_texts(frame, lower.get(name)) for name in (CLASS, "source"))
    filled = classes != "" if CLASS in lower else np.ones(len(frame), bool)
    kept = there & filled
    return MarkedPlaces(
        path=str(path), shapes=shapely.make_valid(shapely.force_2d(shapes[kept])), classes=classes[kept],
        sources=sources[kept], crs=crs, unmarked=int((there & ~filled).sum()),
    )  # fmt: skip


def _read(path: str) -> Any:
    if path.lower().endswith((".parquet", ".geoparquet")):
        return geopandas.read_parquet(path)
    with local_vectors(path):
        return pyogrio.read_dataframe(utf8_name(path))


def _texts(frame: Any, name: Any) -> NDArray[np.object_]:
    """A column as text, empty where nothing stands."""
    if name is None:
        return np.full(len(frame), "", object)
    values = frame[name].to_numpy(dtype=object)
    return np.array(["" if v is None or v != v else str(v).strip() for v in values], dtype=object)
