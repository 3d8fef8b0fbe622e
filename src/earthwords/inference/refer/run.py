"""A scene as `refer` is asked for it, from the source to the report; and what it does with each of many."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import Scene
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.cautions import enforce
from earthwords.inference.refer.job import ReferJob
from earthwords.inference.refer.referrer import Referrer
from earthwords.inference.refer.request import ReferRequest
from earthwords.inference.scene_run import SceneRun
from earthwords.jobs.executor import Executor
from earthwords.jobs.progress import Bar, Console
from earthwords.reports import SceneReport
from earthwords.waiting import waited


class ReferRun(SceneRun[ReferRequest, Referrer]):
    """What `refer` does with a scene."""

    PRELOAD = "earthwords.inference.refer.view_work"

    def plan(self, dst: Path, *, overwrite: bool, inputs: Inputs | None, folder: bool) -> dict[str, Path]:
        """See `plan_outputs`."""
        return plan_outputs(
            dst, probabilities=self.request.wants_probabilities, overwrite=overwrite, inputs=inputs, folder=folder
        )

    def device(self, referrer: Referrer) -> str:
        """Where it computes."""
        return str(referrer.model.device)

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
        enforce(job.notes, strict=run.request.strict)
        if len(job.views) > 1 or run.execution.cluster is not None:
            job = replace(job, executor=stack.enter_context(run.executor(referrer)))
        bars = stack.enter_context(ExitStack())
        bar = bars.enter_context(console.bar("looking", len(job.views), unit="views"))

        def drawing() -> Bar:
            nonlocal bar
            bars.close()
            bar = bars.enter_context(console.bar("drawing", opened.region.height, unit="rows"))
            return bar

        report = job.run(tick=lambda views: bar(views), skip=bar.skip, drawing=drawing, loading_s=waited(began))
    console.notes(report.notes)
    console.outputs(report.outputs, report.failures)
    return report
