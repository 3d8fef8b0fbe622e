"""Places that somebody has marked already, in the pixels of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.geo.vectors.features import VectorFeatures, as_text, read_features
from earthwords.geo.vectors.into_pixels import IntoPixels
from earthwords.inference.teach.marked_pixels import MarkedPixels
from earthwords.types import Grid


class MarkSet(Protocol):
    """What is marked already."""

    @property
    def path(self) -> str:
        """Where it stands, for sentences."""

    @property
    def unmarked(self) -> int:
        """Features whose class is still empty: they count as not marked."""

    def in_pixels(self, grid: Grid, source: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Shapes in pixels of a grid (x to the right, y down) that touch it, and their classes."""

    def differs(self, grid: Grid) -> bool:
        """Whether marks are reprojected to lie in a grid."""


class PixelMarks:
    """What a teaching has learned from, in whole scenes."""

    path, unmarked = "the teaching", 0

    def __init__(self, pixels: MarkedPixels) -> None:
        self.pixels = pixels

    def in_pixels(self, grid: Grid, source: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """The marked pixels of the scene of that name, as points."""
        scenes = self.pixels.scenes
        own = self.pixels.scene == (scenes.index(source) if source in scenes else -1)
        points: NDArray[np.object_] = shapely.points(self.pixels.pixels[own][:, ::-1] + 0.5)
        return points, np.array([self.pixels.titles[i] for i in self.pixels.title[own]], object)

    def differs(self, grid: Grid) -> bool:
        """They lie in the scene's own pixels."""
        return False


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkedPlaces:
    """Shapes of any kind with a class, in the CRS of their file."""

    features: VectorFeatures
    classes: NDArray[np.object_]
    """`(n,)` text; empty in a file without a column of classes."""
    sources: NDArray[np.object_]
    """`(n,)` text: the scene, where the file tells; else empty."""
    unmarked: int = 0
    """Features whose class is still empty: they count as not marked."""

    def __len__(self) -> int:
        return len(self.features)

    @property
    def path(self) -> str:
        return self.features.source

    def in_pixels(self, grid: Grid, source: str) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Shapes in pixels of a grid (x to the right, y down) that touch it, and their classes.

        In pixels only those of the scene itself, where the file tells.

        Raises:
            UsageError: the scene has a CRS, and the file has none, or another that does not lead there.
        """
        way = IntoPixels(self.features.crs, grid, source=self.path, onto=source)
        own = np.ones(len(self), bool) if grid.crs is not None else (self.sources == "") | (self.sources == source)
        placed = shapely.make_valid(shapely.transform(self.features.geometries[own], way))
        inside = shapely.intersects(placed, shapely.box(0, 0, grid.width, grid.height))
        return placed[inside], self.classes[own][inside]

    def differs(self, grid: Grid) -> bool:
        """Whether marks are reprojected to lie in a grid."""
        return grid.crs is not None and IntoPixels(self.features.crs, grid, source=self.path).moved


def read_marked(path: str | Path | geopandas.GeoDataFrame) -> MarkedPlaces:
    """Read marks: points, lines or polygons; those with an empty class are still to be marked.

    Raises:
        SourceError: missing, no vector file, or one without a shape.
    """
    features = read_features(path, kinds="any", what="marks")
    column = features.class_column()
    texts = {name: _texts(features, name) for name in (column, "source")}
    filled = np.ones(len(features), bool) if column is None else texts[column] != ""
    return MarkedPlaces(
        features=features.part(filled), classes=texts[column][filled], sources=texts["source"][filled],
        unmarked=int((~filled).sum()),
    )  # fmt: skip


def _texts(features: VectorFeatures, name: str | None) -> NDArray[np.object_]:
    """A column as text, empty where nothing stands."""
    if name is None or name not in features.columns:
        return np.full(len(features), "", object)
    return np.array([as_text(value) for value in features.columns[name]], object)
