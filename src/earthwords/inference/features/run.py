"""A scene as a command asks for it, from the source to the report; and what `upsample` does with each of many."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from earthwords.geo.destinations import plan_features
from earthwords.geo.scene import Scene
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.cautions import enforce
from earthwords.inference.features.implicit import FittedUpsampler
from earthwords.inference.features.job import FeatureJob
from earthwords.inference.features.request import FeatureRequest
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.scene_run import SceneRun
from earthwords.jobs.executor import Executor
from earthwords.jobs.progress import Console, duration
from earthwords.reports import FeatureReport
from earthwords.waiting import waited


class FeatureRun(SceneRun[FeatureRequest, Upsampler]):
    """What `upsample` does with a scene."""

    PRELOAD = "earthwords.inference.features.window_job"

    def plan(self, dst: Path, *, overwrite: bool, inputs: Inputs | None, folder: bool) -> dict[str, Path]:
        """See `plan_features`."""
        return plan_features(
            dst, components=self.request.components is not None, overwrite=overwrite, inputs=inputs, folder=folder
        )

    def device(self, upsampler: Upsampler) -> str:
        """Where it computes."""
        return str(upsampler.backbone.device)

    def job(
        self, upsampler: Upsampler, opened: Scene, outputs: dict[str, Path], executor: Executor | None = None
    ) -> FeatureJob:
        """The work on an open scene."""
        request = self.request.of(opened.source)
        return FeatureJob(
            upsampler=upsampler,
            scene=request.at_working_gsd(upsampler, opened),
            outputs=outputs,
            request=request,
            execution=self.execution,
            executor=executor,
        )


def upsample_scene(
    run: FeatureRun, load: Callable[[], Upsampler], source: str, dst: Path, console: Console
) -> FeatureReport:
    """Upsample the features of a single scene; whatever is wrong with it is told before the model is loaded."""
    began = time.perf_counter()
    outputs = run.outputs(dst)
    with ExitStack() as stack:
        opened = stack.enter_context(run.open(source))
        console.notes(opened.notes)
        upsampler = load()
        job = run.job(upsampler, opened, outputs)
        console.notes(job.notes)
        enforce(job.notes, strict=run.request.strict)
        job.check()
        if job.windows > 1 or run.execution.cluster is not None:
            job = replace(job, executor=stack.enter_context(run.executor(upsampler)))
        if isinstance(upsampler.module, FittedUpsampler) and job.windows > 1 and not console.quiet:
            console.say(_estimate(job))
        with console.bar("upsampling", job.windows, unit="windows") as bar:
            report = job.run(tick=bar, skip=bar.skip, writing_begins=bar.writing, loading_s=waited(began))
    console.outputs(report.outputs, report.failures)
    return report


def _estimate(job: FeatureJob) -> str:
    """What fitting a network to every window will take."""
    apart = job.upsampler.cores == 1 or job.upsampler.backbone.device.type != "cpu" or not job.execution.shared
    seconds = job.windows * job.window_seconds() / (job.execution.workers if apart else 1)
    return (
        f"{job.upsampler.method} fits a network to each of {job.windows:,} windows: about {duration(seconds)}. Less "
        "for a part (--bounds), or by another --method."
    )
