"""Two dates of any size, compared and written in one pass that survives being killed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from earthwords.inference.change.dates.block import ChangeBlockJob, planned
from earthwords.inference.change.dates.memory import ChangeMemory
from earthwords.inference.change.dates.outputs import AboutChange, ChangeStrip, write_changes
from earthwords.inference.change.dates.pair import DatePair
from earthwords.inference.change.dates.report import ChangeReport
from earthwords.inference.change.dates.request import ChangeRequest
from earthwords.inference.change.dates.windows import ChangeMethod
from earthwords.inference.segment.block_store import BlockResult, BlockStore, open_blocks
from earthwords.inference.segment.map_job import MapJob, Underway, Writing
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.jobs.job import Tick
from earthwords.models.change.card import network_note


@dataclass(frozen=True, kw_only=True)
class ChangeJob(MapJob[ChangeStrip, ChangeReport]):
    """What to make of two dates."""

    pair: DatePair
    request: ChangeRequest
    """With the facts of the pair."""
    method: ChangeMethod
    """How they are compared."""

    @cached_property
    def blocks(self) -> Blocks:
        """How they are cut to fit into the memory.

        Raises:
            UsageError: it is too little.
        """
        return ChangeMemory(segmenter=self.segmenter, pair=self.pair, method=self.method, request=self.request).fit(
            self.execution
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the map before it is made."""
        request, pair = self.request, self.pair
        of_words = self.segmenter.request_notes(pair.before, request.vocabulary)
        together = pair.notes(request.facts, align=request.align, search=request.search)
        of_network = () if request.network is None else (network_note(request.network),)
        of_masks = request.by_masks.notes(request.facts.theta, request.facts.query_area)
        return tuple(dict.fromkeys((*pair.own_notes(), *together, *of_words, *of_network, *of_masks)))

    @property
    def windows(self) -> int:
        """That all blocks take."""
        return sum(self._windows(index) for index in range(len(self.blocks)))

    def _windows(self, index: int) -> int:
        return planned(self.segmenter, self.pair, self.blocks.window(index), self.method, self.request.asked_scales)

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

    @contextmanager
    def underway(self, policy: FailurePolicy, tick: Tick, skip: Tick) -> Iterator[Underway[ChangeStrip, ChangeReport]]:
        """See `MapJob`."""
        resume = self.execution.resume
        with open_blocks(self.journal_folder, settings=self.settings(), blocks=self.blocks, resume=resume) as store:
            skip(sum(self._windows(index) for index in store.done))
            strips = self._from_blocks(store, tick, policy)
            yield Underway(strips=strips, write=self.write, journal=store.journal)

    def write(self, strips: Iterable[ChangeStrip], how: Writing) -> ChangeReport:
        """From strips to outputs."""
        return write_changes(
            self.outputs, strips, about=self._about(how), options=self.request.options, policy=how.policy,
            writing_begins=how.writing_begins, moved=how.moved,
        )  # fmt: skip

    def _about(self, how: Writing) -> AboutChange:
        before, after = self.pair.scenes
        read = {f"EARTHWORDS_AFTER_{name}": value for name, value in _read_as(after.tags(), upper=True).items()}
        compared = {
            f"EARTHWORDS_{name.upper().replace('-', '_')}": value for name, value in self.request.tags().items()
        }
        tags = {**self.segmenter.tags(self.request.vocabulary), **before.tags(), **read, **compared}
        return AboutChange(
            before=tags["EARTHWORDS_SOURCE"],
            after=tags["EARTHWORDS_AFTER_SOURCE"],
            grid=before.native.window(self.pair.region),
            transitions=self.request.transitions,
            facts=self.request.facts,
            tags=tags,
            notes=self.notes,
            strict=self.request.strict,
            loading_s=how.loading_s,
            made=how.made,
        )

    def _from_blocks(self, store: BlockStore, tick: Tick, policy: FailurePolicy) -> Iterator[ChangeStrip]:
        """Full-width strips, as soon as the blocks side by side are there."""
        work, transitions = self.work(ChangeBlockJob, store.blocks), self.request.transitions
        compute = self._here if self.executor is None else self.executor.compute
        for rows in store.rows_from(lambda wanted: compute(work, wanted, tick), policy):
            read = [read_twice(scene.read_wanted, rows.window, scene.native, policy) for scene in self.pair.scenes]
            pairs = rows.arrays["labels"]
            yield ChangeStrip(
                row=rows.row,
                pairs=pairs,
                labels=transitions.labels(pairs),
                score=rows.arrays["score"],
                rgb=(read[0][0], read[1][0]),
                valid=read[0][1] & read[1][1],
            )

    def _here(self, work: ChangeBlockJob, wanted: set[int], tick: Tick) -> Iterator[tuple[int, BlockResult]]:
        """Block after block, in this process."""
        for index in sorted(wanted):
            yield index, work.run(self.segmenter, self.pair, self.method, index, tick)


def _read_as(tags: Mapping[str, str], *, upper: bool = False) -> dict[str, str]:
    """How a scene is read, without the prefix of tags."""
    short = {name.removeprefix("EARTHWORDS_"): value for name, value in tags.items()}
    return short if upper else {name.lower(): value for name, value in short.items()}
