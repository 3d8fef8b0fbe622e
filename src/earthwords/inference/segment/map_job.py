"""A map of any size in one pass that survives being killed: what `segment`, `count` and `change` have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any, Generic, Self, TypeVar

from earthwords.files.atomic import discard
from earthwords.inference.cautions import enforce
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment.block import BlockWork
from earthwords.inference.segment.request import MapRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.blocks import Blocks
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import Journal, journal_beside
from earthwords.jobs.threads import ahead, until
from earthwords.types import TextBank

S = TypeVar("S")
R = TypeVar("R")
W = TypeVar("W", bound=BlockWork)


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How the outputs of a run are written, see `write_outputs`."""

    policy: FailurePolicy
    loading_s: float
    writing_begins: Callable[[], None]
    moved: Callable[[Any], None]
    made: datetime | None
    """Time that outputs tell, see `Journal.made`."""


@dataclass(frozen=True, kw_only=True)
class Underway(Generic[S, R]):
    """Strips that are being computed."""

    strips: Iterator[S]
    write: Callable[[Iterable[S], Writing], R]
    """From strips to outputs."""
    journal: Journal | None = None
    """Remembers what is done; None: nothing does."""


@dataclass(frozen=True, kw_only=True)
class MapJob(ABC, Generic[S, R]):
    """What to make of what is open."""

    segmenter: Segmenter
    request: MapRequest
    outputs: Mapping[str, Path]
    """Kind to path, see `write_outputs`."""
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    executor: Executor | None = None
    """Who computes; None: this process. Others open what is to be mapped as the request says."""

    @cached_property
    def bank(self) -> TextBank:
        """The words as vectors."""
        return self.segmenter.text_bank(self.request.vocabulary)

    def computed_by(self, executor: Executor | None) -> Self:
        """The same, with somebody else who computes; words that were fitted to the scene are not fitted anew."""
        made = replace(self, executor=executor)
        made.__dict__["bank"] = self.bank
        return made

    @property
    @abstractmethod
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the map before it is made."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on, as text."""

    @abstractmethod
    def underway(self, policy: FailurePolicy, tick: Tick, skip: Tick) -> AbstractContextManager[Underway[S, R]]:
        """Begin to compute, or go on with what an earlier run has left.

        Args:
            policy: for what is left out.
            tick, skip: as of `run`.
        """

    def run(
        self,
        *,
        tick: Tick = lambda windows: None,
        skip: Tick = lambda windows: None,
        loading_s: float = 0.0,
        writing_begins: Callable[[], None] = lambda: None,
        moved: Callable[[Any], None] = lambda report: None,
    ) -> R:
        """Do it, or go on with what an earlier run has left.

        Args:
            tick: called with the number of windows done.
            skip: called with the number of windows that an earlier run has done.
            loading_s: time already spent, for the report.
            writing_begins: see `write_outputs`, as `moved`.

        Raises:
            UsageError: the windows are impossible, an output exists, the memory is too little, an unfinished run
                was begun with other settings, or there is a caution and `strict`.
            OutputError: an output cannot be written.
            SourceError: a raster is damaged, or shows nothing.
        """
        enforce(self.notes, strict=self.request.strict)
        policy, stop = FailurePolicy(on_error=self.request.on_error), Event()
        with self.underway(policy, until(stop, tick), skip) as work:
            journal = work.journal

            def all_there(report: R) -> None:
                moved(report)
                if journal is not None:
                    discard(journal.folder)

            how = Writing(
                policy=policy, loading_s=loading_s, writing_begins=writing_begins, moved=all_there,
                made=None if journal is None else journal.made,
            )  # fmt: skip
            with closing(ahead(work.strips, depth=2, stop=stop)) as ready:
                return work.write(ready, how)

    @property
    def journal_folder(self) -> Path:
        """What an unfinished run leaves lies there."""
        return journal_beside(next(iter(self.outputs.values())))

    def work(self, kind: type[W], blocks: Blocks) -> W:
        """What is to be computed, block by block."""
        return kind(
            request=self.request,
            preset=self.segmenter.preset,
            bank=self.bank,
            blocks=blocks,
            batch=self.segmenter.batch,
            device=str(self.segmenter.encoder.backbone.device),
            offline=self.execution.offline,
        )
