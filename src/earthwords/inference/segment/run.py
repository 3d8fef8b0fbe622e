"""A scene as a command asks for it, from the source to the report; and what `segment` does with each of many."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from earthwords.geo.destinations import plan_outputs
from earthwords.geo.scene import Scene
from earthwords.geo.sources.find import Sources
from earthwords.geo.sources.inputs import Inputs
from earthwords.geo.vectors.zones import read_zones
from earthwords.inference.batch import run_many
from earthwords.inference.cautions import enforce
from earthwords.inference.scene_run import SceneRun
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.memory import shown
from earthwords.inference.segment.request import SegmentRequest
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.zone_figures import check_touching
from earthwords.jobs.executor import Executor
from earthwords.jobs.journal import check_unfinished, journal_beside
from earthwords.jobs.progress import Console, duration
from earthwords.reports import BatchReport, SceneReport
from earthwords.waiting import waited

LONG = 400
"""Windows from which on a run is estimated before it begins."""


class SegmentRun(SceneRun[SegmentRequest, Segmenter]):
    """What `segment` does with a scene."""

    DOING: ClassVar[str] = "segmenting"
    PRELOAD = "earthwords.inference.segment.block"

    def plan(self, dst: Path, *, overwrite: bool, inputs: Inputs | None, folder: bool) -> dict[str, Path]:
        """See `plan_outputs`."""
        return plan_outputs(
            dst, probabilities=self.request.wants_probabilities, zones=self.request.zones is not None,
            overwrite=overwrite, inputs=inputs, folder=folder, stac=self.request.stac,
        )  # fmt: skip

    @property
    def work_on(self) -> type[SceneJob]:
        """What becomes of a scene."""
        return SceneJob

    def device(self, segmenter: Segmenter) -> str:
        """Where it computes."""
        return str(segmenter.encoder.backbone.device)

    def job(
        self, segmenter: Segmenter, opened: Scene, outputs: dict[str, Path], executor: Executor | None = None
    ) -> SceneJob:
        """The work on an open scene."""
        request = self.request.of(opened.source)
        return self.work_on(
            segmenter=segmenter,
            scene=request.at_working_gsd(segmenter, opened),
            request=request,
            outputs=outputs,
            execution=self.execution,
            executor=executor,
        )


def segment_all(
    run: SegmentRun, load: Callable[[], Segmenter], source: str, many: Sources | None, dst: Path, console: Console
) -> SceneReport | BatchReport:
    """Segment a single scene, or `many`, see `run_many`."""
    if many is None:
        return segment_scene(run, load, source, dst, console)
    return run_many(run, many, dst, source, console, load, doing=run.DOING)


def segment_scene(
    run: SegmentRun, load: Callable[[], Segmenter], source: str, dst: Path, console: Console
) -> SceneReport:
    """Segment a single scene; whatever is wrong with it is told before the model is loaded."""
    began = time.perf_counter()
    outputs = run.outputs(dst)
    with ExitStack() as stack:
        opened = stack.enter_context(run.open(source))
        if run.request.zones is not None:
            check_touching(read_zones(run.request.zones).on(opened.native.window(opened.region)), source)
        console.notes(opened.notes)
        told = {**opened.identity(), **run.request.told()}
        check_unfinished(journal_beside(next(iter(outputs.values()))), told, resume=run.execution.resume)
        segmenter = load()
        job = run.job(segmenter, opened, outputs)
        console.notes(job.notes)
        enforce(job.notes, strict=run.request.strict)
        blocks = job.blocks()
        if len(blocks) > 1 or run.execution.cluster is not None:
            job = job.computed_by(stack.enter_context(run.executor(segmenter)))
        total = job.windows(blocks, set(range(len(blocks))))
        if total > LONG and not console.quiet:
            console.say(_estimate(job, total))
        with console.bar(run.DOING, total, unit="windows") as bar:
            report = job.run(tick=bar, skip=bar.skip, writing_begins=bar.writing, loading_s=waited(began))
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
