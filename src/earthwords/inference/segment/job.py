"""A scene of any size, segmented and written in one pass that survives being killed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from earthwords.geo.scene import Scene
from earthwords.geo.stac_item import UNKNOWN_DAY, day_of
from earthwords.geo.vectors.zones import ZonesOnGrid, read_zones
from earthwords.inference.cautions import enforce
from earthwords.inference.segment.block import BlockJob
from earthwords.inference.segment.block_store import BlockResult, BlockStore, open_blocks
from earthwords.inference.segment.joint import joined, joint_cautions, joint_notes
from earthwords.inference.segment.map_job import MapJob, Underway, Writing
from earthwords.inference.segment.memory import MemoryEstimate
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import About, write_outputs
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.strip import Strip, observed
from earthwords.inference.windows.zone_figures import zone_notes
from earthwords.jobs.job import Tick
from earthwords.reports import SceneReport
from earthwords.types import Grid, TextBank


@dataclass(frozen=True, kw_only=True)
class SceneJob(MapJob[Strip, SceneReport]):
    """What to make of a scene."""

    scene: Scene
    request: SegmentRequest

    @property
    def grid(self) -> Grid:
        """Of all outputs: the region asked for, in the source's own pixels."""
        return self.scene.native.window(self.scene.region)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the map before it is made."""
        return (*self._notes_before_fitting, *joint_notes(self.bank))

    @cached_property
    def _notes_before_fitting(self) -> tuple[str, ...]:
        of_zones = () if self.zones is None else zone_notes(self.zones)
        of_words = self.segmenter.request_notes(self.scene, self.request.vocabulary)
        of_joint = joint_cautions(self.segmenter.preset) if self.request.joint else ()
        of_day = (UNKNOWN_DAY,) if self.request.stac and day_of(self.scene.date()) is None else ()
        return (*self.scene.notes, *of_words, *of_zones, *of_joint, *of_day)

    @cached_property
    def bank(self) -> TextBank:
        """The words, and the mixture of the scene's tokens where one is asked for.

        Raises:
            UsageError: it cannot be fitted, or there is a caution and the request is strict.
        """
        words = self.segmenter.text_bank(self.request.vocabulary)
        if not self.request.joint:
            return words
        enforce(self._notes_before_fitting, strict=self.request.strict)
        return joined(self.segmenter, self.segmenter.clip, self.scene, words, on_error=self.request.on_error)

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

    @contextmanager
    def underway(self, policy: FailurePolicy, tick: Tick, skip: Tick) -> Iterator[Underway[Strip, SceneReport]]:
        """See `MapJob`: blocks that are kept on the disk, unless this process computes a single one."""
        blocks = self.blocks()
        if len(blocks) == 1 and self.executor is None:
            strips = self.segmenter.strips(
                self.scene,
                self.bank,
                threshold=self.request.threshold,
                probabilities=self.request.wants_probabilities,
                policy=policy,
                tick=tick,
            )
            yield Underway(strips=observed(strips, self.scene.source), write=self.write)
            return
        resume = self.execution.resume
        with open_blocks(self.journal_folder, settings=self.settings(), blocks=blocks, resume=resume) as store:
            if store.done:
                planned, left = self.blocks(), set(range(len(store.blocks))) - store.done
                skip(self.windows(planned, set(range(len(planned)))) - self.windows(store.blocks, left))
            strips = self._from_blocks(store, tick, policy)
            yield Underway(strips=observed(strips, self.scene.source), write=self.write, journal=store.journal)

    def about(self, how: Writing) -> About:
        """What outputs tell."""
        tags = self.scene.tags()
        return About(
            source=tags["EARTHWORDS_SOURCE"],
            grid=self.grid,
            vocabulary=self.request.vocabulary,
            tags={**tags, **self.segmenter.tags(self.request.vocabulary, threshold=self.request.threshold)},
            notes=self.notes,
            strict=self.request.strict,
            loading_s=how.loading_s,
            made=how.made,
            taken=day_of(self.scene.date()) if self.request.stac else None,
        )

    def write(self, strips: Iterable[Strip], how: Writing) -> SceneReport:
        """From strips to outputs."""
        return write_outputs(
            self.outputs, strips, about=self.about(how), options=self.request.options, policy=how.policy,
            zones=self.zones, writing_begins=how.writing_begins, moved=how.moved,
        )  # fmt: skip

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""
        return {
            **self.scene.identity(),
            "region": repr(self.scene.region),
            **{name.removeprefix("EARTHWORDS_").lower(): value for name, value in self.scene.tags().items()},
            **self.request.settings(self.segmenter),
        }

    def journal_bytes(self) -> int:
        """What the finished blocks take on the disk, in the end."""
        each = {"no": 0, "uint8": 1, "float32": 4}[self.request.options.probabilities] * len(self.request.vocabulary)
        flags = 1 + self.segmenter.rounds
        return self.grid.height * self.grid.width * (self.request.vocabulary.label_dtype.itemsize + 4 + flags + each)

    def windows(self, blocks: Blocks, wanted: set[int]) -> int:
        """Windows that have to be computed for some blocks; blocks of different workers share none."""
        runs = blocks.runs(wanted) if self.executor is None else ((index, 1) for index in wanted)
        return sum(len(self.segmenter.plan(self.scene, blocks.window(first, count=count))) for first, count in runs)

    def _from_blocks(self, store: BlockStore, tick: Tick, policy: FailurePolicy) -> Iterator[Strip]:
        """Full-width strips, as soon as the blocks side by side are there."""
        work = self.work(BlockJob, store.blocks)
        compute = self._in_columns if self.executor is None else self.executor.compute
        for rows in store.rows_from(lambda wanted: compute(work, wanted, tick), policy):
            rgb, valid = read_twice(self.scene.read_wanted, rows.window, self.scene.native, policy)
            yield Strip(
                row=rows.row,
                labels=rows.arrays["labels"],
                score=rows.arrays["score"],
                rgb=rgb,
                valid=valid,
                probabilities=rows.arrays.get("probabilities"),
                undecided=rows.arrays.get("undecided"),
                rounding=rows.arrays.get("rounding"),
            )

    def _in_columns(self, work: BlockJob, wanted: set[int], tick: Tick) -> Iterator[tuple[int, BlockResult]]:
        """This process, from top to bottom: blocks above each other share windows."""
        for first, count in work.blocks.runs(wanted):
            for i, result in enumerate(work.run(self.segmenter, self.scene, first, count, tick)):
                yield first + i * work.blocks.across, result
