"""Examples as vectors: whole images, or what lies in a box or under polygons, cut and resized as the tiles of an index.

A part smaller than a tile is seen in the middle of a tile, with what surrounds it; of a larger one all tiles are taken
that cover it. So an example looks as the same thing does in the index.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.archive.embedder import Embedder, Vector
from earthwords.archive.storage import Stored, opening
from earthwords.errors import Caution, UsageError, number_of
from earthwords.geo.grids.footprints import LONLAT, Polygons, read_polygons
from earthwords.geo.grids.georeference import Bounds, crs_to_pixel, window_of_bounds
from earthwords.geo.scene import Scene
from earthwords.inference.cautions import colour_cautions
from earthwords.types import Window

MOST = 64
"""Tiles that are looked at of one side; of more an even choice."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Reads examples for an index."""

    stored: Stored
    embedder: Embedder
    sources: frozenset[str]
    """Of the index: these are read as they were indexed."""
    bands: Sequence[int | str] | None = None

    def vectors(
        self, images: Sequence[Any], *, bounds: Bounds | None = None, geometry: Path | None = None
    ) -> tuple[Vector, tuple[str, ...]]:
        """`(n, dim)` unit vectors of images or parts of them, and what is to be said about them.

        Args:
            images: paths, addresses or arrays; with `geometry` and none of them: the tiles of the index.
            bounds: only this part, in the CRS of the image.
            geometry: file of polygons: only what lies under them.

        Raises:
            UsageError: no polygon lies over the images.
            SourceError: an image cannot be read.
        """
        if geometry is None:
            whole = [self._part(image, bounds) for image in images]
            return self._joined([vectors for vectors, _ in whole]), tuple(n for _, notes in whole for n in notes)
        polygons = read_polygons(geometry)
        if not images:
            return self._stored_under(polygons, geometry)
        found: list[Vector] = []
        notes: list[str] = []
        seen: set[int] = set()
        for image in images:
            vectors, more, used = self._under(image, polygons)
            found.append(vectors)
            notes += more
            seen |= used
        if not any(map(len, found)):
            raise UsageError(f"No polygon of {geometry} lies over {_names(images)}.")
        if left := len(polygons) - len(seen):
            notes.append(f"{number_of(left, 'polygon')} of {geometry} lie over nothing of {_names(images)}.")
        return self._joined(found), tuple(notes)

    def _joined(self, parts: Sequence[Vector]) -> Vector:
        return np.concatenate([np.empty((0, self.embedder.dim), np.float32), *parts])

    def _how(self, image: Any) -> dict[str, Any]:
        """How an image is opened: a source of the index as it was indexed."""
        held = isinstance(image, (str, Path)) and not {str(image), os.path.abspath(image)}.isdisjoint(self.sources)
        how = opening(self.stored.settings) if held else {}
        return how | ({} if self.bands is None else {"bands": self.bands})

    def _open(self, image: Any) -> tuple[Scene, tuple[str, ...]]:
        """The image, and what is known of its colours."""
        scene = self.embedder.open(image, **self._how(image))
        notes = (*scene.notes, *colour_cautions(scene))
        return scene, tuple(note for note in notes if isinstance(note, Caution))

    def _part(self, image: Any, bounds: Bounds | None) -> tuple[Vector, tuple[str, ...]]:
        """A whole image as one example, or a box of it as tiles."""
        scene, notes = self._open(image)
        with closing(scene):
            if bounds is None:
                return self.embedder.image(image, **self._how(image))[None], notes
            at = self.embedder.at_tile_gsd(scene, _tile_gsd(self.stored.settings))
            window_of_bounds(at.grid, bounds)  # says what is wrong with them
            box = _in_pixels(at, np.array([shapely.box(*bounds)]))[0]
            vectors = self._tiles(at, windows_over(box, at.grid.shape, size=self._size))
        if not len(vectors):
            raise UsageError(f"{scene.source} has no valid pixel in the part asked for.")
        return vectors, notes

    def _under(self, image: Any, polygons: Polygons) -> tuple[Vector, tuple[str, ...], set[int]]:
        """What lies under polygons, and which of them lie over the image."""
        scene, notes = self._open(image)
        with closing(scene):
            if scene.native.crs is None:
                raise UsageError(f"{scene.source} has no CRS, so no polygons can be laid over it; use --like-bounds.")
            at = self.embedder.at_tile_gsd(scene, _tile_gsd(self.stored.settings))
            shapes = _in_pixels(at, polygons.in_crs(scene.native.crs))
            by_shape = [windows_over(shape, at.grid.shape, size=self._size) for shape in shapes]
            windows = [window for found in by_shape for window in found]
            chosen = _evenly(list(dict.fromkeys(windows)))
            if len(chosen) < len(set(windows)):
                notes += (
                    f"{len(chosen)} of the {len(set(windows)):,} tiles under the polygons are taken as examples.",
                )
            return self._tiles(at, chosen), notes, {i for i, found in enumerate(by_shape) if found}

    @property
    def _size(self) -> int:
        return int(self.stored.settings["tile_size"])

    def _tiles(self, scene: Scene, windows: Sequence[Window]) -> Vector:
        """`(n, dim)` of windows of the working grid that have a valid pixel."""
        rasters = (raster for raster in map(scene.read, _evenly(windows)) if raster.valid.any())
        found = [vector for _, vector in self.embedder.encoded(rasters, lambda raster: raster)]
        return self._joined([vector[None] for vector in found if vector is not None])

    def _stored_under(self, polygons: Polygons, path: Path) -> tuple[Vector, tuple[str, ...]]:
        """Of the tiles of the index, for each polygon the one that holds most of it."""
        x0, y0, x1, y1 = self.stored.tiles.boxes().T
        rows = []
        for shape in polygons.in_crs(LONLAT):
            west, south, east, north = shapely.bounds(shape)
            with np.errstate(invalid="ignore"):
                near = np.flatnonzero((x0 <= east) & (x1 >= west) & (y0 <= north) & (y1 >= south))
            shared = np.array([
                area for _, tiles in self.stored.tiles.geometries(near)
                for area in shapely.area(shapely.intersection(shape, tiles))
            ])  # fmt: skip
            if len(shared) and shared.max() > 0:
                rows.append(int(near[np.argmax(shared)]))
        if not rows:
            raise UsageError(f"No polygon of {path} lies over a tile of the index; name the scene that it is for.")
        kept = list(dict.fromkeys(rows))
        left = len(polygons) - len(rows)
        notes = (f"{number_of(left, 'polygon')} of {path} touch no tile of the index.",) if left else ()
        vectors = np.asarray(self.stored.vectors.values[kept], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), notes


def _in_pixels(scene: Scene, shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Shapes of the scene's CRS in pixels `(col, row)` of its working grid."""
    moved = shapely.transform(shapes, lambda xy: np.stack(crs_to_pixel(scene.grid, *xy.T), axis=1))
    return np.asarray(moved)


def windows_over(shape: Any, grid: tuple[int, int], *, size: int) -> list[Window]:
    """Tiles over a shape in pixels `(col, row)` of a grid: one with its middle in the middle, or as many as cover it.

    None where the shape lies outside. No tile leaves the grid; one that does not touch the shape is left out.
    """
    height, width = grid
    inside = shapely.intersection(shapely.make_valid(shape), shapely.box(0, 0, width, height))
    if inside.is_empty or not inside.area:
        return []
    left, top, right, bottom = shapely.bounds(inside)
    rows, cols = _starts(top, bottom, height, size), _starts(left, right, width, size)
    tall, wide = min(size, height), min(size, width)
    found = [Window(row=row, col=col, height=tall, width=wide) for row in rows for col in cols]
    boxes = shapely.box(*np.array([(w.col, w.row, w.col_stop, w.row_stop) for w in found], float).T)
    touched = shapely.area(shapely.intersection(inside, boxes)) > 0
    return [window for window, keep in zip(found, touched, strict=True) if keep]


def _starts(first: float, last: float, length: int, size: int) -> list[int]:
    """First pixels of the tiles that cover `first..last` of an axis, evenly."""
    count = max(1, math.ceil((last - first) / size - 1e-6))
    middle = (first + last - size) / 2
    spread = max(0.0, last - first - size)
    places = [middle] if count == 1 else np.linspace(middle - spread / 2, middle + spread / 2, count).tolist()
    return [min(max(0, math.floor(place + 0.5)), max(0, length - size)) for place in places]


def _evenly(windows: Sequence[Window]) -> list[Window]:
    if len(windows) <= MOST:
        return list(windows)
    return [windows[i] for i in np.linspace(0, len(windows) - 1, MOST).round().astype(int)]


def _tile_gsd(settings: Any) -> float | None:
    """The ground sample distance that the index was made at, if it was named; see `IndexJob.settings`."""
    try:
        return float(settings["gsd"])
    except ValueError:
        return None


def _names(images: Sequence[Any]) -> str:
    return ", ".join(str(image) if isinstance(image, (str, Path)) else "the array" for image in images)
