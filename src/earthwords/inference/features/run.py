"""A scene as a command asks for it, from the source to the report; and what `upsample` does with each of many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from earthwords.geo.destinations import plan_features
from earthwords.geo.scene import Scene
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.cautions import enforce
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.features.implicit import FittedUpsampler
from earthwords.inference.features.job import FeatureJob
from earthwords.inference.features.request import FeatureRequest
from earthwords.inference.features.upsampler import Upsampler
from earthwords.jobs.executor import Executor
from earthwords.jobs.progress import Console, duration
from earthwords.types import FeatureReport


@dataclass(frozen=True, kw_only=True)
class FeatureRun:
    """A request, what no output may replace, and how the work is done; see `inference.batch.SceneRun`."""

    request: FeatureRequest
    inputs: Inputs
    execution: ExecutionOptions

    @property
    def overwrite(self) -> bool:
        """Whether outputs that are there are replaced."""
        return self.request.overwrite

    @property
    def strict(self) -> bool:
        """Whether cautions are errors."""
        return self.request.strict

    def open(self, source: str) -> Scene:
        """A scene at its own resolution, or the one asked for."""
        return self.request.of(source).spec.open()

    def outputs(self, dst: Path, *, folder: bool = False, anew: bool = False) -> dict[str, Path]:
        """Kind to path; see `plan_features`.

        Args:
            folder: `dst` is one, whatever its name.
            anew: never mind what is there.
        """
        return plan_features(
            dst,
            components=self.request.components is not None,
            overwrite=anew or self.overwrite,
            inputs=None if anew else self.inputs,
            folder=folder,
        )

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

    def settings(self, upsampler: Upsampler) -> dict[str, str]:
        """What all scenes depend on, as text."""
        return {**self.request.reading(), **self.request.settings(upsampler)}

    @contextmanager
    def executor(self, upsampler: Upsampler) -> Iterator[Executor | None]:
        """Who computes; None: this process."""
        device = str(upsampler.backbone.device)
        with self.execution.executor(device, preload=["earthwords.inference.features.window_job"]) as executor:
            yield executor


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
        enforce(job.notes, strict=run.strict)
        job.check()
        if job.windows > 1 or run.execution.cluster is not None:
            job = replace(job, executor=stack.enter_context(run.executor(upsampler)))
        if isinstance(upsampler.module, FittedUpsampler) and job.windows > 1 and not console.quiet:
            console.say(_estimate(job))
        with console.bar("upsampling", job.windows, unit="windows") as bar:
            report = job.run(tick=bar, skip=bar.skip, writing_begins=bar.writing, loading_s=time.perf_counter() - began)
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
