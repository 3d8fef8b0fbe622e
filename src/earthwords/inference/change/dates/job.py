"""Two dates of any size, compared and written in one pass that survives being killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event

import numpy as np

from earthwords.files.atomic import discard
from earthwords.inference.cautions import enforce
from earthwords.inference.change.dates.block import ChangeBlockJob, around, cut, planned
from earthwords.inference.change.dates.outputs import AboutChange, ChangeStrip, write_changes
from earthwords.inference.change.dates.pair import DatePair
from earthwords.inference.change.dates.report import ChangeReport
from earthwords.inference.change.dates.request import ChangeRequest
from earthwords.inference.change.dates.windows import ChangeMethod
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment.block_store import BlockResult, BlockStore, open_blocks
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import CELL_ROWS
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import journal_beside
from earthwords.jobs.threads import ahead, until
from earthwords.models.change.card import network_note
from earthwords.types import Window

Moved = Callable[[ChangeReport], None]


@dataclass(frozen=True, kw_only=True)
class ChangeJob:
    """What to make of two dates."""

    segmenter: Segmenter
    pair: DatePair
    request: ChangeRequest
    """With the facts of the pair."""
    outputs: Mapping[str, Path]
    """Kind to path, see `write_changes`."""
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    executor: Executor | None = None
    """Who computes; None: this process."""

    @cached_property
    def method(self) -> ChangeMethod:
        """How they are compared."""
        return self.request.comparison(self.segmenter, offline=self.execution.offline)

    def load(self) -> None:
        """Load what the method needs, before anything is said or written."""
        _ = self.method

    @cached_property
    def blocks(self) -> Blocks:
        """How they are cut."""
        return cut(self.pair.region)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the map before it is made."""
        request, pair = self.request, self.pair
        of_words = self.segmenter.request_notes(pair.before, request.vocabulary)
        together = pair.notes(request.facts, align=request.align, search=request.search)
        of_network = () if request.network is None else (network_note(request.network),)
        return tuple(dict.fromkeys((*pair.own_notes(), *together, *of_words, *of_network)))

    @property
    def windows(self) -> int:
        """That all blocks take."""
        return sum(self._windows(index) for index in range(len(self.blocks)))

    def _windows(self, index: int) -> int:
        return planned(
            self.segmenter,
            self.pair,
            around(self.blocks.window(index), self.pair, self.method),
            self.request.asked_scales,
        )

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""
        before, after = self.pair.scenes
        second = {f"after, {name}": value for name, value in {**after.identity(), **_read_as(after.tags())}.items()}
        return {
            **before.identity(),
            **_read_as(before.tags()),
            **second,
            "what both dates cover": repr(self.pair.region),
            **self.request.settings(self.segmenter),
        }

    def run(
        self,
        *,
        tick: Tick = lambda windows: None,
        skip: Tick = lambda windows: None,
        loading_s: float = 0.0,
        writing_begins: Callable[[], None] = lambda: None,
        moved: Moved = lambda report: None,
    ) -> ChangeReport:
        """Do it, or go on with what an earlier run has left.

        Args:
            tick: called with the number of windows done.
            skip: called with the number of windows that an earlier run has done.
            loading_s: time already spent, for the report.
            writing_begins: see `write_changes`, as `moved`.

        Raises:
            UsageError: an output exists, an unfinished run was begun with other settings, or there is a caution and
                `strict`.
            OutputError: an output cannot be written.
            SourceError: a date is damaged, or they show no pixel in common.
        """
        enforce(self.notes, strict=self.request.strict)
        policy, stop = FailurePolicy(on_error=self.request.on_error), Event()
        folder, settings = journal_beside(next(iter(self.outputs.values()))), self.settings()
        with open_blocks(folder, settings=settings, blocks=self.blocks, resume=self.execution.resume) as store:
            skip(sum(self._windows(index) for index in store.done))
            made = None if "SOURCE_DATE_EPOCH" in os.environ else store.began

            def all_there(report: ChangeReport) -> None:
                moved(report)
                discard(folder)

            strips = self._assembled(store, until(stop, tick), policy)
            with closing(ahead(strips, depth=2, stop=stop)) as ready:
                return write_changes(
                    self.outputs, ready, about=self._about(loading_s, made), options=self.request.options,
                    policy=policy, writing_begins=writing_begins, moved=all_there,
                )  # fmt: skip

    def _about(self, loading_s: float, made: datetime | None) -> AboutChange:
        before, after = self.pair.scenes
        read = {f"EARTHWORDS_AFTER_{name}": value for name, value in _read_as(after.tags(), upper=True).items()}
        how = {f"EARTHWORDS_{name.upper().replace('-', '_')}": value for name, value in self.request.tags().items()}
        tags = {**self.segmenter.tags(self.request.vocabulary), **before.tags(), **read, **how}
        return AboutChange(
            before=tags["EARTHWORDS_SOURCE"],
            after=tags["EARTHWORDS_AFTER_SOURCE"],
            grid=before.native.window(self.pair.region),
            transitions=self.request.transitions,
            facts=self.request.facts,
            tags=tags,
            notes=self.notes,
            strict=self.request.strict,
            loading_s=loading_s,
            made=made,
        )

    def _assembled(self, store: BlockStore, tick: Tick, policy: FailurePolicy) -> Iterator[ChangeStrip]:
        """Full-width strips, as soon as the blocks side by side are there."""
        blocks = store.blocks
        wanted = set(range(len(blocks))) - store.done
        work = self._work(blocks)
        results = (self._here(work, sorted(wanted), tick) if self.executor is None
                   else self.executor.compute(work, wanted, tick))  # fmt: skip
        for band in range(blocks.down):
            while not store.done.issuperset(blocks.band(band)):
                index, result = next(results)
                store.save(index, result)
            yield from self._band(store, band, policy)
        failures, _ = store.failures_and_ranks()
        policy.failures[:] = dict.fromkeys([*failures, *policy.failures])

    def _here(self, work: ChangeBlockJob, wanted: list[int], tick: Tick) -> Iterator[tuple[int, BlockResult]]:
        """Block after block, in this process."""
        for index in wanted:
            yield index, work.run(self.segmenter, self.pair, self.method, index, tick)

    def _work(self, blocks: Blocks) -> ChangeBlockJob:
        return ChangeBlockJob(
            request=self.request,
            preset=self.segmenter.preset,
            bank=self.segmenter.text_bank(self.request.vocabulary),
            blocks=blocks,
            batch=self.segmenter.batch,
            device=str(self.segmenter.encoder.backbone.device),
            offline=self.execution.offline,
        )

    def _band(self, store: BlockStore, band: int, policy: FailurePolicy) -> Iterator[ChangeStrip]:
        """Strips of one row of blocks."""
        blocks, region = store.blocks, self.pair.region
        top, height = band * blocks.rows, blocks.window(band * blocks.across).height
        for first in range(0, height, CELL_ROWS):
            stop = min(first + CELL_ROWS, height)
            window = Window(row=region.row + top + first, col=region.col, height=stop - first, width=region.width)
            read = [read_twice(scene.read_rgb, window, scene.native, policy) for scene in self.pair.scenes]
            parts = [store.rows(index, first, stop) for index in blocks.band(band)]
            yield ChangeStrip(
                row=top + first,
                pairs=np.concatenate([part["labels"] for part in parts], axis=1),
                score=np.concatenate([part["score"] for part in parts], axis=1),
                rgb=(read[0][0], read[1][0]),
                valid=read[0][1] & read[1][1],
            )


def _read_as(tags: Mapping[str, str], *, upper: bool = False) -> dict[str, str]:
    """How a scene is read, without the prefix of tags."""
    short = {name.removeprefix("EARTHWORDS_"): value for name, value in tags.items()}
    return short if upper else {name.lower(): value for name, value in short.items()}
