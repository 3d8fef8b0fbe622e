"""What suggestions are drawn from: a scene that a model maps now, or a map that was made before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import EarthwordsError
from earthwords.geo.probability_map import ProbabilityMap
from earthwords.geo.scene import Scene, open_scene
from earthwords.inference.suggest.lattice import CellFigures, ProbabilityRows
from earthwords.inference.suggest.tokens import tokens_at
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.job import Tick
from earthwords.types import Grid, Vocabulary, Window

if TYPE_CHECKING:
    from earthwords.inference.segment.segmenter import Segmenter

CELL = 16
"""Pixels that the model sees along the side of a cell."""
_ROWS = 64
Pixels = NDArray[np.int64]


class Mapped(Protocol):
    """A scene with a map of probabilities; rows and columns are those of its part that was asked for."""

    @property
    def name(self) -> str:
        """Path or address."""

    @property
    def grid(self) -> Grid: ...

    @property
    def titles(self) -> tuple[str, ...]:
        """Of the classes."""

    @property
    def threshold(self) -> float: ...

    @property
    def side(self) -> int:
        """Of a cell, pixels."""

    @property
    def notes(self) -> tuple[str, ...]: ...

    def strips(self, tick: Tick) -> Iterator[ProbabilityRows]:
        """From top to bottom."""

    def picture(self, window: Window) -> NDArray[np.float32] | None:
        """`(3, row, col)` 0..1; None: it is not at hand."""

    def features(self, cells: CellFigures) -> NDArray[np.float32]:
        """`(n, dim)` of a list of cells."""


@dataclass(kw_only=True)
class ModelMapped:
    """A scene that is mapped now; its features are the model's tokens."""

    segmenter: Segmenter
    scene: Scene
    vocabulary: Vocabulary
    threshold: float
    """Of a single class: where it is most uncertain."""
    policy: FailurePolicy
    named: str | None = None
    """Instead of the path or address."""

    @property
    def name(self) -> str:
        return self.scene.source if self.named is None else self.named

    @property
    def grid(self) -> Grid:
        return self.scene.native.window(self.scene.region)

    @property
    def titles(self) -> tuple[str, ...]:
        return self.vocabulary.titles

    @property
    def side(self) -> int:
        return max(2, round(CELL * self.scene.native.height / self.scene.grid.height))

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.scene.notes, *self.segmenter.request_notes(self.scene, self.vocabulary))

    @property
    def windows(self) -> int:
        """Of the map, for a bar."""
        return len(self.segmenter.plan(self.scene, self.scene.region))

    def strips(self, tick: Tick) -> Iterator[ProbabilityRows]:
        """See `Segmenter.strips`."""
        bank = self.segmenter.text_bank(self.vocabulary)
        yield from self.segmenter.strips(self.scene, bank, probabilities=True, policy=self.policy, tick=tick)

    def picture(self, window: Window) -> NDArray[np.float32] | None:
        region = self.scene.region
        moved = Window(
            row=window.row + region.row, col=window.col + region.col, height=window.height, width=window.width
        )
        return self.scene.read_rgb(moved).data.astype(np.float32)

    def features(self, cells: CellFigures) -> NDArray[np.float32]:
        region = self.scene.region
        pixels = np.stack([cells.rows + region.row, cells.cols + region.col], axis=1)
        return tokens_at(self.segmenter, self.scene, pixels, policy=self.policy)


@dataclass(frozen=True, kw_only=True)
class MapRows:
    """Of a map that was read, see `ProbabilityRows`."""

    row: int
    probabilities: NDArray[np.float32] | None
    rgb: NDArray[np.float32] | None


@dataclass(kw_only=True)
class FileMapped:
    """A map of a file; its features are probabilities, place and colour."""

    map: ProbabilityMap
    source: str
    """What the map says that it is of."""
    scene: Scene | None = None
    """That picture, if it is at hand."""
    offset: tuple[int, int] = (0, 0)
    """Row and column of the map in it."""
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.source

    @property
    def grid(self) -> Grid:
        return self.map.grid

    @property
    def titles(self) -> tuple[str, ...]:
        return self.map.titles

    @property
    def threshold(self) -> float:
        return self.map.threshold

    @property
    def side(self) -> int:
        worked, own = self.map.tags.get("EARTHWORDS_GSD", "").removesuffix(" m"), self.grid.gsd_m
        try:
            return max(2, round(CELL * float(worked) / own)) if own else CELL
        except ValueError:
            return CELL

    def strips(self, tick: Tick) -> Iterator[ProbabilityRows]:
        for row in range(0, self.grid.height, _ROWS):
            height = min(_ROWS, self.grid.height - row)
            window = Window(row=row, col=0, height=height, width=self.grid.width)
            yield MapRows(row=row, probabilities=self.map.rows(row, height), rgb=self.picture(window))
            tick(height)

    def picture(self, window: Window) -> NDArray[np.float32] | None:
        if self.scene is None:
            return None
        down, right = self.offset
        moved = Window(row=window.row + down, col=window.col + right, height=window.height, width=window.width)
        return self.scene.read_rgb(moved).data.astype(np.float32)

    def features(self, cells: CellFigures) -> NDArray[np.float32]:
        place = np.stack([cells.rows, cells.cols]) / max(self.grid.shape) / 2
        colour = np.nan_to_num(cells.colour)
        found = np.concatenate([cells.probabilities, place, colour]).T.astype(np.float32)
        length = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6)
        unit: NDArray[np.float32] = (found / length).astype(np.float32)
        return unit


def of_map(map_: ProbabilityMap) -> FileMapped:
    """A map with the picture it was made of, where that can be found."""
    told = map_.tags.get("EARTHWORDS_SOURCE", "")
    if not told:
        return FileMapped(map=map_, source=map_.path, notes=(_without(map_.path, "it does not say what it is of"),))
    beside = os.path.join(os.path.dirname(os.path.abspath(map_.path)), told)
    for path in (told, beside):
        if not os.path.isfile(path):
            continue
        try:
            scene = open_scene(path, offline=True)
        except EarthwordsError as error:
            return FileMapped(map=map_, source=told, notes=(_without(map_.path, str(error).rstrip(".")),))
        offset = _offset(map_.grid, scene.native)
        if offset is None:
            scene.close()
            return FileMapped(map=map_, source=told, notes=(_without(map_.path, f"{told} has other pixels"),))
        return FileMapped(map=map_, source=told, scene=scene, offset=offset)
    return FileMapped(map=map_, source=told, notes=(_without(map_.path, f"{told} is not there"),))


def _without(path: str, why: str) -> str:
    return f"The picture of {path} is not at hand ({why}), so colour says nothing about how alike places are."


def _offset(part: Grid, whole: Grid) -> tuple[int, int] | None:
    """Row and column of a part on the same pixels; None: it is no part."""
    col, row = ~whole.transform @ (part.transform.c, part.transform.f)
    at = round(row), round(col)
    same = np.allclose([*part.transform][:6:1], [*whole.transform][:6:1], rtol=1e-9) if at == (0, 0) else True
    fits = abs(row - at[0]) < 0.01 and abs(col - at[1]) < 0.01 and min(at) >= 0
    inside = at[0] + part.height <= whole.height and at[1] + part.width <= whole.width
    scale = np.allclose(part.resolution, whole.resolution, rtol=1e-6)
    return at if same and fits and inside and scale else None
