"""A scene in which things are counted by masks: tiles instead of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from earthwords.inference.instances.automatic import MaskJob, SamMasks, scene_masks
from earthwords.inference.instances.instructsam.finder import MaskFinder, on_grid
from earthwords.inference.instances.job import CountJob
from earthwords.inference.instances.options import MASK_RULES, CountOptions
from earthwords.inference.segment.map_job import Underway
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.strip import Strip, observed
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import open_journal
from earthwords.mask_set import MaskSet
from earthwords.reports import SceneReport
from earthwords.types import Window

_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class MaskCountJob(CountJob):
    """What to count in a scene, mask by mask."""

    masks: MaskSet | None = None
    """Those of the scene, on the grid of the outputs; None: not found yet."""

    def masks_job(self) -> MaskJob:
        """The work on tiles."""
        counting = self.request.counting
        metres = self.request.spec.gsd if self.scene.grid.shape == self.scene.native.shape else self.scene.grid.gsd_m
        source = SamMasks(
            weights=str(counting.masks), rules=MASK_RULES, device=str(self.segmenter.encoder.backbone.device),
            offline=self.execution.offline,
        )  # fmt: skip
        return MaskJob(spec=replace(self.request.spec, gsd=metres), source=source, on_error=self.request.on_error)

    def windows(self, blocks: Blocks, wanted: set[int]) -> int:
        """Tiles, for the bar."""
        return len(self.masks_job().tiles(self.scene))

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""
        return {**super().settings(), **self.masks_job().source.settings()}

    @contextmanager
    def underway(self, policy: FailurePolicy, tick: Tick, skip: Tick) -> Iterator[Underway[Strip, SceneReport]]:
        """See `MapJob`: masks first, tile by tile, then the pixels under them."""
        settings, resume = self.settings(), self.execution.resume
        with open_journal(self.journal_folder, settings=settings, resume=resume, unit="tiles", done=len) as journal:
            job = self.masks_job()
            journal.total = len(job.tiles(self.scene))
            skip(len(journal))
            masks = scene_masks(
                self.scene, job, executor=self.executor, journal=journal, tick=tick, policy=policy
            )  # fmt: skip
            found = replace(self, masks=on_grid(masks, self.grid))
            strips = observed(self._strips(policy), self.scene.source)
            yield Underway(strips=strips, write=found.write, journal=journal)

    def finder(self, counting: CountOptions) -> MaskFinder:
        """See `CountJob.finder`."""
        assert self.masks is not None
        return MaskFinder(
            masks=self.masks, scene=self.scene, segmenter=self.segmenter, vocabulary=self.request.vocabulary,
            counted=counting.counted, expected=counting.expects, threshold=self.request.threshold or 0.0,
            policy=FailurePolicy(on_error=self.request.on_error),
        )  # fmt: skip

    def _strips(self, policy: FailurePolicy) -> Iterator[Strip]:
        """Pixels for the picture and the zones; of classes nothing is known."""
        region = self.scene.region
        for row in range(0, region.height, _ROWS):
            tall = min(_ROWS, region.height - row)
            window = Window(row=region.row + row, col=region.col, height=tall, width=region.width)
            rgb, valid = read_twice(self.scene.read_wanted, window, self.scene.native, policy)
            nodata = self.request.vocabulary.nodata
            labels = np.where(valid, 0, nodata).astype(self.request.vocabulary.label_dtype)
            yield Strip(row=row, labels=labels, score=np.zeros(valid.shape, np.float32), rgb=rgb, valid=valid)
