"""A scene of any size, segmented and written in one pass that survives being killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TypeAlias

import numpy as np

from earthwords.files.atomic import discard
from earthwords.geo.scene import Scene
from earthwords.geo.vectors.zones import ZonesOnGrid, read_zones
from earthwords.inference.cautions import enforce
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment.block import BlockJob
from earthwords.inference.segment.block_store import BlockResult, BlockStore, open_blocks
from earthwords.inference.segment.joint import joined, joint_notes
from earthwords.inference.segment.memory import MemoryEstimate
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import About, write_outputs
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.inference.windows.strip import Strip, observed
from earthwords.inference.windows.zone_figures import zone_notes
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import journal_beside
from earthwords.jobs.threads import ahead, until
from earthwords.reports import SceneReport
from earthwords.types import Grid, TextBank, Window

Moved: TypeAlias = Callable[[SceneReport], None]


@dataclass(frozen=True, kw_only=True)
class SceneJob:
    """What to make of a scene."""

    segmenter: Segmenter
    scene: Scene
    request: SegmentRequest
    outputs: Mapping[str, Path]
    """Kind to path, see `write_outputs`."""
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    executor: Executor | None = None
    """Who computes; None: this process. Others open the scene as the request says."""

    @property
    def grid(self) -> Grid:
        """Of all outputs: the region asked for, in the source's own pixels."""
        return self.scene.native.window(self.scene.region)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the map before it is made."""
        of_zones = () if self.zones is None else zone_notes(self.zones)
        of_words = self.segmenter.request_notes(self.scene, self.request.vocabulary)
        return (*self.scene.notes, *of_words, *of_zones, *joint_notes(self.bank))

    @cached_property
    def bank(self) -> TextBank:
        """The words, and the mixture of the scene's tokens where one is asked for.

        Raises:
            UsageError: it cannot be fitted.
        """
        words = self.segmenter.text_bank(self.request.vocabulary)
        if not self.request.joint:
            return words
        return joined(self.segmenter, self.segmenter.encoder, self.scene, words, on_error=self.request.on_error)

    @cached_property
    def zones(self) -> ZonesOnGrid | None:
        """In the pixels of the outputs; None: none are asked for.

        Raises:
            SourceError, UsageError: the file cannot be read, or does not fit the scene's CRS.
        """
        return None if self.request.zones is None else read_zones(self.request.zones).on(self.grid)

    def blocks(self) -> Blocks:
        """How the scene is cut to fit into the memory.

        Raises:
            UsageError: it is too little.
        """
        return self.need.fit(self.execution.memory, workers=self.execution.workers, shared=self.execution.shared)

    @property
    def need(self) -> MemoryEstimate:
        """What it takes."""
        return MemoryEstimate(
            segmenter=self.segmenter,
            scene=self.scene,
            vocabulary=self.request.vocabulary,
            probabilities=self.request.options.probabilities,
        )

    def run(
        self,
        *,
        tick: Tick = lambda windows: None,
        skip: Tick = lambda windows: None,
        loading_s: float = 0.0,
        writing_begins: Callable[[], None] = lambda: None,
        moved: Moved = lambda report: None,
    ) -> SceneReport:
        """Do it.

        Args:
            tick: called with the number of windows done.
            skip: called with the number of windows that an earlier run has done, of those that `windows` tells.
            loading_s: time already spent, for the report.
            writing_begins: see `write_outputs`, as `moved`.

        Raises:
            UsageError: the windows are impossible, an output exists, the memory is too little, an unfinished run
                was begun with other settings, or there is a caution and `strict`.
            OutputError: an output cannot be written.
            SourceError: the scene is damaged.
        """
        enforce(self.notes, strict=self.request.strict)
        policy = FailurePolicy(on_error=self.request.on_error)
        bank = self.bank
        blocks = self.blocks()
        stop = Event()
        checked_tick = until(stop, tick)
        if len(blocks) == 1 and self.executor is None:
            strips = self.segmenter.strips(
                self.scene,
                bank,
                threshold=self.request.threshold,
                probabilities=self.request.wants_probabilities,
                policy=policy,
                tick=checked_tick,
            )
            return self._write(strips, policy, loading_s, stop, writing_begins, moved)
        folder, settings = journal_beside(next(iter(self.outputs.values()))), self.settings()
        with open_blocks(folder, settings=settings, blocks=blocks, resume=self.execution.resume) as store:
            blocks, done = store.blocks, set(store.done)
            every = set(range(len(blocks)))
            if done:
                planned = self.blocks()
                skip(self.windows(planned, set(range(len(planned)))) - self.windows(blocks, every - done))
            strips = self._assembled(store, self._work(bank, blocks), checked_tick, policy)
            made = None if "SOURCE_DATE_EPOCH" in os.environ else store.began

            def all_there(report: SceneReport) -> None:
                moved(report)
                discard(folder)

            return self._write(strips, policy, loading_s, stop, writing_begins, all_there, made=made)

    def _write(
        self,
        strips: Iterator[Strip],
        policy: FailurePolicy,
        loading_s: float,
        stop: Event,
        writing_begins: Callable[[], None],
        moved: Moved,
        *,
        made: datetime | None = None,
    ) -> SceneReport:
        tags = self.scene.tags()
        about = About(
            source=tags["EARTHWORDS_SOURCE"],
            grid=self.grid,
            vocabulary=self.request.vocabulary,
            tags={**tags, **self.segmenter.tags(self.request.vocabulary, threshold=self.request.threshold)},
            notes=self.notes,
            strict=self.request.strict,
            loading_s=loading_s,
            made=made,
        )
        with closing(ahead(observed(strips, self.scene.source), depth=2, stop=stop)) as ready:
            return self.write(ready, about, policy, writing_begins, moved)

    def write(
        self,
        strips: Iterable[Strip],
        about: About,
        policy: FailurePolicy,
        writing_begins: Callable[[], None],
        moved: Moved,
    ) -> SceneReport:
        """From strips to outputs, see `write_outputs`."""
        return write_outputs(
            self.outputs, strips, about=about, options=self.request.options, policy=policy, zones=self.zones,
            writing_begins=writing_begins, moved=moved,
        )  # fmt: skip

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""
        return {
            **self.scene.identity(),
            "region": repr(self.scene.region),
            **{name.removeprefix("EARTHWORDS_").lower(): value for name, value in self.scene.tags().items()},
            **self.request.settings(self.segmenter),
        }

    def _work(self, bank: TextBank, blocks: Blocks) -> BlockJob:
        encoder = self.segmenter.encoder
        return BlockJob(
            request=self.request,
            preset=self.segmenter.preset,
            bank=bank,
            blocks=blocks,
            batch=self.segmenter.batch,
            device=str(encoder.backbone.device),
            offline=self.execution.offline,
        )

    def journal_bytes(self) -> int:
        """What the finished blocks take on the disk, in the end."""
        each = {"no": 0, "uint8": 1, "float32": 4}[self.request.options.probabilities] * len(self.request.vocabulary)
        return self.grid.height * self.grid.width * (self.request.vocabulary.label_dtype.itemsize + 4 + 1 + each)

    def windows(self, blocks: Blocks, wanted: set[int]) -> int:
        """Windows that have to be computed for some blocks; blocks of different workers share none."""
        runs = blocks.runs(wanted) if self.executor is None else ((index, 1) for index in wanted)
        return sum(len(self.segmenter.plan(self.scene, blocks.window(first, count=count))) for first, count in runs)

    def _assembled(self, store: BlockStore, work: BlockJob, tick: Tick, policy: FailurePolicy) -> Iterator[Strip]:
        """Full-width strips, as soon as the blocks side by side are there."""
        blocks = store.blocks
        wanted = set(range(len(blocks))) - store.done
        compute = self._in_columns if self.executor is None else self.executor.compute
        results = compute(work, wanted, tick)
        for band in range(blocks.down):
            while not store.done.issuperset(blocks.band(band)):
                index, result = next(results)
                store.save(index, result)
            yield from self._band(store, band, policy)
        failures, policy.ranks[:] = store.failures_and_ranks()
        policy.failures[:] = dict.fromkeys([*failures, *policy.failures])

    def _in_columns(self, work: BlockJob, wanted: set[int], tick: Tick) -> Iterator[tuple[int, BlockResult]]:
        """This process, from top to bottom: blocks above each other share windows."""
        for first, count in work.blocks.runs(wanted):
            for i, result in enumerate(work.run(self.segmenter, self.scene, first, count, tick)):
                yield first + i * work.blocks.across, result

    def _band(self, store: BlockStore, band: int, policy: FailurePolicy) -> Iterator[Strip]:
        """Strips of one row of blocks."""
        blocks, region = store.blocks, self.scene.region
        top, height = band * blocks.rows, blocks.window(band * blocks.across).height
        for first in range(0, height, CELL_ROWS):
            stop = min(first + CELL_ROWS, height)
            window = Window(row=region.row + top + first, col=region.col, height=stop - first, width=region.width)
            rgb, valid = read_twice(self.scene.read_rgb, window, self.scene.native, policy)
            parts = [store.rows(index, first, stop) for index in blocks.band(band)]
            joined = {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}
            yield Strip(
                row=top + first,
                labels=joined["labels"],
                score=joined["score"],
                rgb=rgb,
                valid=valid,
                probabilities=joined.get("probabilities"),
                undecided=joined.get("undecided"),
            )
