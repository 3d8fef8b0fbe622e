"""Masks of everything in a scene of any size: tile by tile, each seen with a margin, and joined afterwards.

A tile keeps the masks that reach its core; the cores tile the scene. How masks of neighbours become one mask is told
in `joining.py`. Memory holds a tile's pixels and the bits of all masks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.geo.scene import Scene, SceneSpec
from earthwords.inference.instances.joining import TileMasks, joined_masks
from earthwords.inference.refer.pyramid import View, region_on, views
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.executor import Executor, Local
from earthwords.jobs.job import Tick, Worker
from earthwords.jobs.journal import Journal
from earthwords.mask_set import MaskSet
from earthwords.models.sam.generator import MaskGenerator
from earthwords.models.sam.load import load_sam
from earthwords.models.sam.settings import MaskSettings, mask_settings
from earthwords.types import Grid, Window

SIDE, MARGIN = 1024, 128
"""Pixels of a tile with its margins, and of a margin: things smaller than that are seen whole."""
EDGE = 2
"""A mask that comes so near to the border of its tile is taken to be cut there, pixels."""

FindMasks: TypeAlias = Callable[[NDArray[np.uint8], Grid], MaskSet]
"""Masks of an image `(row, col, 3)`, RGB, and the grid that it lies on."""


class MaskSource(Protocol):
    """Who finds masks in an image; can be pickled, compared and hashed."""

    def load(self) -> FindMasks:
        """Ready to work."""

    def settings(self) -> dict[str, str]:
        """What the masks depend on: option -> value as text."""


@dataclass(frozen=True, kw_only=True)
class SamMasks:
    """Automatic masks of SAM or SAM 2.1."""

    weights: str
    """See `load_sam`."""
    rules: MaskSettings | str | None = None
    """See `MaskGenerator`."""
    device: str = "cpu"
    offline: bool = False

    def load(self) -> FindMasks:
        """See `MaskSource`."""
        generator = MaskGenerator(load_sam(self.weights, offline=self.offline, device=self.device), self.rules)
        return lambda image, grid: generator.generate(image).on(grid)

    def settings(self) -> dict[str, str]:
        """See `MaskSource`."""
        rules = mask_settings(self.rules) if isinstance(self.rules, str) else self.rules
        return {"weights": self.weights, "masks": "the authors'" if rules is None else repr(rules)}


@dataclass(frozen=True, kw_only=True)
class MaskJob:
    """What to find in a scene: a `Job` whose parts are tiles, row after row."""

    spec: SceneSpec
    source: MaskSource
    side: int = SIDE
    """Of a tile with its margins, pixels of the working grid."""
    margin: int = MARGIN
    on_error: str = "stop"
    """See `FailurePolicy`."""

    def tiles(self, scene: Scene) -> list[View]:
        """The tiles of a scene; a scene that fits into one is one.

        Raises:
            UsageError: the margins leave no core, or are none.
        """
        if not 0 < 2 * self.margin < self.side:
            raise UsageError(f"Tiles of {self.side} pixels need margins of 1 to less than half, got {self.margin}.")
        return views(scene, self.side, 2 * self.margin)

    def compute(self, worker: Worker, index: int) -> tuple[float, TileMasks]:
        """1, and the masks of a tile."""
        scene = worker.keep("scene", self.spec, self.spec.open)
        tiles = worker.keep("tiles", (self.spec, self.side, self.margin), lambda: self.tiles(scene))
        find = worker.keep("masks", self.source, self.source.load)
        return 1.0, tile_masks(scene, tiles[index], find, FailurePolicy(on_error=self.on_error))

    def place(self, index: int) -> str:
        """Which tile it is."""
        return f"tile {index + 1} of {self.spec.source}"

    def settings(self) -> dict[str, str]:
        """What the masks depend on beside the scene: option -> value as text."""
        sizes = {"tile": str(self.side), "margin": str(self.margin), "on_error": self.on_error}
        return {**self.spec.settings(), **self.source.settings(), **sizes}


def scene_masks(
    scene: Scene,
    job: MaskJob,
    *,
    executor: Executor | None = None,
    journal: Journal | None = None,
    tick: Tick = lambda tiles: None,
    policy: FailurePolicy | None = None,
    notes: list[str] | None = None,
) -> MaskSet:
    """Masks of the region of a scene, on its working grid, from the top left to the bottom right.

    They are the same for any number of workers and in whichever order the tiles are done.

    Args:
        scene: open, as `job.spec` says it.
        executor: who computes the tiles; None: this process.
        journal: keeps the tiles that are done, and gives those of an earlier run.
        tick: told of every tile that is done.
        policy: told what could not be read.
        notes: gets a sentence about what the masks are worth, if there is one.

    Raises:
        UsageError: the margins leave no core.
        WindowError: a tile cannot be read, and may not be left out.
    """
    tiles, region = job.tiles(scene), region_on(scene)
    found: dict[int, TileMasks] = {}
    for index in range(len(tiles)):
        if journal is not None and _name(index) in journal:
            found[index] = TileMasks.from_bytes(journal.read(_name(index)), scene.grid)
    if executor is None:
        executor = Local()
        executor.worker.keep("scene", job.spec, lambda: scene)
    for index, result in executor.compute(job, set(range(len(tiles))) - found.keys(), tick):
        found[index] = result
        if journal is not None:
            journal.save(_name(index), result.to_bytes())
    if policy is not None:
        policy.add(sentence for index in sorted(found) for sentence in found[index].failures)
    masks, ended = joined_masks([found[index] for index in range(len(tiles))], tiles, scene.grid)
    if ended and notes is not None:
        notes.append(
            f"{ended:,} of {len(masks):,} masks reach the border of a tile behind which no other tile saw the same: "
            "larger tiles see such things whole."
        )
    boxes = masks.boxes - np.array([region.row, region.col, 0, 0])
    return replace(masks, grid=scene.grid.window(region), boxes=boxes)


def tile_masks(scene: Scene, tile: View, find: FindMasks, policy: FailurePolicy) -> TileMasks:
    """The masks that reach the core of a tile, of pixels that were observed; not asked for where there are none."""
    pixels, valid = tile.read(scene, policy)
    window, grid = tile.window, scene.grid.window(tile.window)
    empty = MaskSet.pack(scene.grid, [], [])
    wanted = valid if scene.aoi is None else valid & scene.aoi.inside(window, scene.grid.shape)
    if not wanted.any():
        return TileMasks(masks=empty, cut=np.zeros(0, bool), failures=tuple(policy.failures))
    image = np.rint(np.where(valid, pixels, 0).clip(0, 1) * 255).astype(np.uint8)
    image[:, ~valid] = np.rint(image[:, valid].mean(axis=1))[:, None].astype(np.uint8)
    masks = find(np.ascontiguousarray(image.transpose(1, 2, 0)), grid)
    core, places, kept, which = tile.core, [], [], []
    for i, (row, col, mask) in enumerate(masks):
        mask = mask & wanted[row : row + mask.shape[0], col : col + mask.shape[1]]
        own = Window(row=window.row + row, col=window.col + col, height=mask.shape[0], width=mask.shape[1])
        common = own.intersect(core)
        if common is not None and mask[common.slices_in(own)].any():
            places.append((own.row, own.col))
            kept.append(mask)
            which.append(i)
    some = masks.take(which)
    found = MaskSet.pack(
        scene.grid, places, kept, scores=some.scores, classes=some.classes, titles=some.titles
    )  # fmt: skip
    return TileMasks(masks=found, cut=_cut(found, window, region_on(scene)), failures=tuple(policy.failures))


def _cut(masks: MaskSet, window: Window, region: Window) -> NDArray[np.bool_]:
    """`(mask,)`: whether a mask comes to a border of the window that is not one of the region."""
    row, col, height, width = masks.boxes.T
    cut: NDArray[np.bool_] = (
        ((row < window.row + EDGE) & (window.row > region.row))
        | ((col < window.col + EDGE) & (window.col > region.col))
        | ((row + height > window.row_stop - EDGE) & (window.row_stop < region.row_stop))
        | ((col + width > window.col_stop - EDGE) & (window.col_stop < region.col_stop))
    )
    return cut


def _name(index: int) -> str:
    return f"tile-{index:06}"
