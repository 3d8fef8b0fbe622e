"""A scene in which sentences point at things: looked at, and drawn in one pass that survives being killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from earthwords.errors import UsageError
from earthwords.files.atomic import discard
from earthwords.geo.scene import Scene
from earthwords.inference.cautions import enforce
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.refer.match import Match
from earthwords.inference.refer.pyramid import View
from earthwords.inference.refer.referrer import Referrer
from earthwords.inference.refer.request import ReferRequest
from earthwords.inference.refer.search import VIEW, Compute
from earthwords.inference.refer.view_work import ViewWork, shared_by
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.outputs import About, settings_of, write_outputs
from earthwords.inference.windows.strip import Strip, observed
from earthwords.jobs.executor import Executor
from earthwords.jobs.job import Tick
from earthwords.jobs.journal import Journal, journal_beside, open_journal
from earthwords.jobs.progress import Bar
from earthwords.reports import SceneReport

Moved: TypeAlias = Callable[[SceneReport], None]


@dataclass(frozen=True, kw_only=True)
class ReferJob:
    """What to find in a scene."""

    referrer: Referrer
    scene: Scene
    request: ReferRequest
    outputs: Mapping[str, Path]
    """Kind to path, see `write_outputs`."""
    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    executor: Executor | None = None
    """Who looks; None: this process. Others open the scene as the request says."""

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what is known of the worth of the answer before it is looked for."""
        return (*self.scene.notes, *self.referrer.request_notes(self.scene, self.request.vocabulary))

    @cached_property
    def views(self) -> list[View]:
        """What is looked at, the finest first."""
        return self.referrer.plan(self.scene, every=self.request.pointing.every)

    def run(
        self,
        *,
        tick: Tick = lambda views: None,
        skip: Tick = lambda views: None,
        loading_s: float = 0.0,
        drawing: Callable[[], Bar] = Bar,
        writing_begins: Callable[[], None] = lambda: None,
        moved: Moved = lambda report: None,
    ) -> SceneReport:
        """Do it.

        Args:
            tick: called with the number of views done, and 0 now and then, also while outputs are drawn.
            skip: called with the number of views that an earlier run has looked at.
            loading_s: time already spent, for the report.
            drawing: called when all is found; what it gives is told the rows of the outputs.
            writing_begins: see `write_outputs`, as `moved`.

        Raises:
            UsageError: an output exists, an unfinished run was begun with other settings, or there is a caution and
                the request is strict.
            OutputError: an output cannot be written.
            WindowError: a view cannot be read.
        """
        began = time.perf_counter()
        enforce(self.notes, strict=self.request.strict)
        policy = FailurePolicy(on_error=self.request.pointing.on_error)
        with self._journal() as journal:
            matches = self.referrer.search(
                self.scene, self.request.vocabulary.queries, self.request.pointing, policy=policy,
                compute=self._compute(tick), journal=journal, tick=tick, skip=skip,
            )  # fmt: skip
            bar = drawing()

            def writing() -> None:
                bar.writing()
                writing_begins()

            def all_there(report: SceneReport) -> None:
                moved(report)
                if journal is not None:
                    discard(journal.folder)

            return write_outputs(
                self.outputs, _counted(self._strips(matches, policy), bar, tick),
                about=self._about(
                    matches, None if journal is None else journal.made,
                    loading_s=loading_s, searching_s=time.perf_counter() - began,
                ),
                options=self.request.options, policy=policy, writing_begins=writing, moved=all_there,
            )  # fmt: skip

    def settings(self) -> dict[str, str]:
        """Everything that the outputs depend on."""
        return {
            **self.scene.identity(),
            "region": repr(self.scene.region),
            **settings_of(self.scene.tags()),
            **self.request.settings(self.referrer),
        }

    @contextmanager
    def _journal(self) -> Iterator[Journal | None]:
        """What an earlier run has found; a scene of one view needs none."""
        if len(self.views) == 1 and self.executor is None:
            yield None
            return
        folder = journal_beside(next(iter(self.outputs.values())))
        with open_journal(
            folder, settings=self.settings(), resume=self.execution.resume, unit="views", done=_views_done
        ) as journal:
            journal.total = len(self.views)
            yield journal

    def _compute(self, tick: Tick) -> Compute | None:
        """Who looks at views; None: this process."""
        if self.executor is None:
            return None
        if self.referrer.spec is None:
            raise UsageError("Workers load a model by its name; this one was put together here: leave --workers out.")
        work = ViewWork(
            referrer=self.referrer.spec,
            scene=self.request.spec,
            sentences=tuple(self.request.vocabulary.queries),
            pointing=self.request.pointing,
        )
        return shared_by(self.executor, work, tick=tick, on_this_machine=self.execution.cluster is None)

    def _strips(self, matches: list[Match], policy: FailurePolicy) -> Iterator[Strip]:
        strips = self.referrer.strips(
            self.scene, matches, self.request.vocabulary, threshold=self.request.pointing.threshold,
            probabilities=self.request.wants_probabilities, policy=policy,
        )  # fmt: skip
        return observed(strips, self.scene.source)

    def _about(self, matches: list[Match], made: datetime | None, *, loading_s: float, searching_s: float) -> About:
        tags = self.scene.tags()
        found = self.referrer.notes(
            self.request.vocabulary.titles, matches, self.scene, threshold=self.request.pointing.threshold
        )
        return About(
            source=tags["EARTHWORDS_SOURCE"],
            grid=self.scene.native.window(self.scene.region),
            vocabulary=self.request.vocabulary,
            tags={**tags, **self.request.tags(self.referrer)},
            notes=(*self.notes, *found),
            strict=self.request.strict,
            loading_s=loading_s,
            searching_s=searching_s,
            made=made,
        )


def _views_done(journal: Journal) -> int:
    return sum(name.startswith(VIEW) for name in journal)


def _counted(strips: Iterable[Strip], bar: Bar, tick: Tick) -> Iterator[Strip]:
    """The same strips; the bar is told their rows, and what `tick` raises ends the work."""
    for strip in strips:
        tick(0)
        yield strip
        bar(strip.labels.shape[0])
