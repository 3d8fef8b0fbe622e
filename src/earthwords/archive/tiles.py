"""How sources are cut into tiles, and tiles on their way from pixels to rows of an index."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earthwords.archive.build_log import Part, Stamp
from earthwords.archive.embedder import Vector
from earthwords.archive.tile_table import SCHEMA
from earthwords.errors import SourceError, UsageError
from earthwords.geo.grids.footprints import LONLAT, footprints, native_windows
from earthwords.geo.grids.tiling import axis_starts
from earthwords.geo.scene import Scene
from earthwords.types import Raster, VectorLayer, Window

_SIDES = ("row", "col", "height", "width")


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """How sources are cut."""

    size: int
    """Side of a tile, pixels of the working resolution; an image below twice that on both sides is one tile."""
    overlap: int = 0
    """Pixels that neighbours share."""
    min_valid: float = 0.5
    """Least share of valid pixels, 0..1."""

    def __post_init__(self) -> None:
        if self.size < 8 or not 0 <= self.overlap < self.size:
            raise UsageError(
                f"Tiles of {self.size} pixels with an overlap of {self.overlap} are impossible: the size must be at "
                "least 8 and the overlap smaller than it."
            )
        if not 0 <= self.min_valid <= 1:
            raise UsageError(f"The least share of valid pixels is 0 to 1, not {self.min_valid:g}.")

    def axes(self, shape: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, int]]:
        """First rows, first columns and the shape of the tiles of a grid."""
        if max(shape) < 2 * self.size:
            return (0,), (0,), shape
        rows, cols = (axis_starts(length, self.size, self.size - self.overlap) for length in shape)
        return rows, cols, (min(self.size, shape[0]), min(self.size, shape[1]))


@dataclass(kw_only=True)
class Block:
    """Tiles of a source that are remembered together."""

    source: str
    stamp: Stamp
    number: int
    last: bool
    scene: Scene
    date: str | None
    windows: list[Window] = field(default_factory=list)
    valid: list[float] = field(default_factory=list)
    vectors: list[Vector] = field(default_factory=list)
    skipped: int = 0

    def add(self, tile: Tile, vector: Vector | None) -> None:
        if vector is None:
            self.skipped += 1
            return
        self.windows.append(tile.window)
        self.valid.append(tile.valid)
        self.vectors.append(vector)

    def part(self, dim: int) -> Part:
        """The tiles that were not skipped."""
        grid, native, count = self.scene.grid, self.scene.native, len(self.windows)
        places = native_windows(self.windows, working=grid.shape, native=native.shape)
        gsd = grid.gsd_m
        columns: dict[str, Any] = {name: np.array([getattr(w, name) for w in places], np.int32) for name in _SIDES}
        columns |= {
            "source": np.full(count, self.source, object),
            "crs": np.full(count, _name_of(native.crs), object),
            "gsd": np.full(count, np.nan if gsd is None else gsd),
            "date": np.full(count, self.date, object),
            "valid": np.array(self.valid, np.float32),
        }
        shapes = footprints(grid, self.windows)
        layer = VectorLayer(geometries=shapes, columns={name: columns[name] for name in SCHEMA}, crs=LONLAT)
        return Part(layer=layer, vectors=np.array(self.vectors, np.float16).reshape(count, dim))


@dataclass(frozen=True, kw_only=True)
class Tile:
    block: Block
    window: Window
    raster: Raster | None
    """None: too few valid pixels."""
    valid: float
    share: float
    """Of its source."""
    final: bool
    """The last of its block."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """Something that needs no vector: tiles of an earlier run, or a source that cannot be read."""

    share: float
    failure: str | None = None


def read_tile(scene: Scene, window: Window) -> Raster:
    """Pixels; a failure is tried again once."""
    with suppress(SourceError):
        return scene.read(window)
    return scene.read(window)


def _name_of(crs: Any) -> str | None:
    """Authority and code, or WKT."""
    if crs is None:
        return None
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.to_wkt())
