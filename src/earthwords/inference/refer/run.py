"""A scene as `refer` is asked for it, from the source to the report; and what it does with each of many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import Scene
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.cautions import enforce
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.refer.job import ReferJob
from earthwords.inference.refer.referrer import Referrer
from earthwords.inference.refer.request import ReferRequest
from earthwords.jobs.executor import Executor
from earthwords.jobs.progress import Bar, Console
from earthwords.types import SceneReport


@dataclass(frozen=True, kw_only=True)
class ReferRun:
    """A request, what no output may replace, and how the work is done; see `inference.batch.SceneRun`."""

    request: ReferRequest
    inputs: Inputs
    execution: ExecutionOptions

    @property
    def overwrite(self) -> bool:
        """Whether outputs that are there are replaced."""
        return self.request.options.overwrite

    @property
    def strict(self) -> bool:
        """Whether cautions are errors."""
        return self.request.strict

    def open(self, source: str) -> Scene:
        """A scene at its own resolution, or the one asked for."""
        return self.request.of(source).spec.open()

    def outputs(self, dst: Path, *, folder: bool = False, anew: bool = False) -> dict[str, Path]:
        """Kind to path; see `plan_outputs`.

        Args:
            folder: `dst` is one, whatever its name.
            anew: never mind what is there.
        """
        return plan_outputs(
            dst,
            probabilities=self.request.wants_probabilities,
            overwrite=anew or self.overwrite,
            inputs=None if anew else self.inputs,
            folder=folder,
        )

    def job(
        self, referrer: Referrer, opened: Scene, outputs: dict[str, Path], executor: Executor | None = None
    ) -> ReferJob:
        """The work on an open scene."""
        return ReferJob(
            referrer=referrer,
            scene=opened,
            request=self.request.of(opened.source),
            outputs=outputs,
            execution=self.execution,
            executor=executor,
        )

    def settings(self, referrer: Referrer) -> dict[str, str]:
        """What all scenes depend on, as text."""
        return {**self.request.spec.settings(), **self.request.settings(referrer)}

    @contextmanager
    def executor(self, referrer: Referrer) -> Iterator[Executor | None]:
        """Who computes; None: this process."""
        preload = ["earthwords.inference.refer.view_work"]
        with self.execution.executor(str(referrer.model.device), preload=preload) as executor:
            yield executor


def refer_scene(run: ReferRun, load: Callable[[], Referrer], source: str, dst: Path, console: Console) -> SceneReport:
    """Point at things in a single scene; whatever is wrong with it is told before the model is loaded."""
    began = time.perf_counter()
    outputs = run.outputs(dst)
    with ExitStack() as stack:
        opened = stack.enter_context(run.open(source))
        console.notes(opened.notes)
        referrer = load()
        job = run.job(referrer, opened, outputs)
        console.notes(job.notes)
        enforce(job.notes, strict=run.strict)
        if len(job.views) > 1 or run.execution.cluster is not None:
            job = replace(job, executor=stack.enter_context(run.executor(referrer)))
        bars = stack.enter_context(ExitStack())
        bar = bars.enter_context(console.bar("looking", len(job.views), unit="views"))

        def drawing() -> Bar:
            nonlocal bar
            bars.close()
            bar = bars.enter_context(console.bar("drawing", opened.region.height, unit="rows"))
            return bar

        report = job.run(
            tick=lambda views: bar(views), skip=bar.skip, drawing=drawing, loading_s=time.perf_counter() - began
        )
    console.notes(report.notes)
    console.outputs(report.outputs, report.failures)
    return report
