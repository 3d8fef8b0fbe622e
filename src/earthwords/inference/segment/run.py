"""A scene as a command asks for it, from the source to the report; and what `segment` does with each of many."""

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
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.memory import shown
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.executor import Executor
from earthwords.jobs.progress import Console, duration
from earthwords.types import SceneReport

LONG = 400
"""Windows from which on a run is estimated before it begins."""


@dataclass(frozen=True, kw_only=True)
class SegmentRun:
    """A request, what no output may replace, and how the work is done; see `inference.batch.SceneRun`."""

    request: SegmentRequest
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
        self, segmenter: Segmenter, opened: Scene, outputs: dict[str, Path], executor: Executor | None = None
    ) -> SceneJob:
        """The work on an open scene."""
        request = self.request.of(opened.source)
        return SceneJob(
            segmenter=segmenter,
            scene=request.at_working_gsd(segmenter, opened),
            request=request,
            outputs=outputs,
            execution=self.execution,
            executor=executor,
        )

    def settings(self, segmenter: Segmenter) -> dict[str, str]:
        """What all scenes depend on, as text."""
        return {**self.request.spec.settings(), **self.request.settings(segmenter)}

    @contextmanager
    def executor(self, segmenter: Segmenter) -> Iterator[Executor | None]:
        """Who computes; None: this process."""
        device = str(segmenter.encoder.backbone.device)
        with self.execution.executor(device, preload=["earthwords.inference.segment.block"]) as executor:
            yield executor


def segment_scene(
    run: SegmentRun, load: Callable[[], Segmenter], source: str, dst: Path, console: Console
) -> SceneReport:
    """Segment a single scene; whatever is wrong with it is told before the model is loaded."""
    began = time.perf_counter()
    outputs = run.outputs(dst)
    with ExitStack() as stack:
        opened = stack.enter_context(run.open(source))
        console.notes(opened.notes)
        segmenter = load()
        job = run.job(segmenter, opened, outputs)
        console.notes(job.notes)
        enforce(job.notes, strict=run.strict)
        blocks = job.blocks()
        if len(blocks) > 1 or run.execution.cluster is not None:
            job = replace(job, executor=stack.enter_context(run.executor(segmenter)))
        total = job.windows(blocks, set(range(len(blocks))))
        if total > LONG and not console.quiet:
            console.say(_estimate(job, total))
        with console.bar("segmenting", total, unit="windows") as bar:
            report = job.run(tick=bar, skip=bar.skip, writing_begins=bar.writing, loading_s=time.perf_counter() - began)
    console.notes(report.notes)
    console.outputs(report.outputs, report.failures)
    if "ranks" in report.settings:
        console.detail(f"Energy {report.settings['energy']}: channels upsampled {report.settings['ranks']}.")
    return report


def _estimate(job: SceneJob, windows: int) -> str:
    """What a long run will take."""
    execution, blocks = job.execution, job.blocks()
    at_once = max(job.segmenter.threads, execution.workers)
    seconds = windows * job.segmenter.window_seconds(len(job.request.vocabulary.queries)) / at_once
    need = job.need.bytes(blocks)
    each = " a worker" if execution.workers > 1 else ""
    disk = "" if len(blocks) == 1 else f", {shown(job.journal_bytes())} of disk until it is done"
    return (
        f"{windows:,} windows in {len(blocks)} blocks: about {duration(seconds)}, at most {shown(need)} of "
        f"memory{each} beside the model{disk}."
    )
