"""Dates as a command asks for them, from the sources to the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from earthwords.geo.destinations import plan_changes
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.cautions import enforce
from earthwords.inference.change.dates.job import ChangeJob
from earthwords.inference.change.dates.pair import PairSpec
from earthwords.inference.change.dates.report import ChangeReport
from earthwords.inference.change.dates.request import ChangeRequest
from earthwords.inference.execution import ExecutionOptions
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.journal import check_unfinished, journal_beside
from earthwords.jobs.progress import Console
from earthwords.waiting import waited

PRELOAD = "earthwords.inference.change.dates.block"


@dataclass(frozen=True, kw_only=True)
class ChangeRun:
    """A request, what no output may replace, and how the work is done."""

    request: ChangeRequest
    inputs: Inputs
    execution: ExecutionOptions

    def of(self, before: str, after: str) -> ChangeRun:
        """The same of other dates."""
        request = self.request.of(before)
        return replace(self, request=replace(request, after=replace(request.after, source=after)))

    def outputs(self, dst: Path, *, folder: bool = False, anew: bool = False) -> dict[str, Path]:
        """Kind to path; see `plan_changes`.

        Args:
            folder: `dst` is one, whatever its name.
            anew: never mind what is there.
        """
        overwrite = anew or self.request.replaces
        return plan_changes(dst, overwrite=overwrite, inputs=None if anew else self.inputs, folder=folder)


def compare_dates(
    run: ChangeRun,
    load: Callable[[], Segmenter],
    dst: Path,
    console: Console,
    *,
    folder: bool = False,
    moved: Callable[[ChangeReport], None] = lambda report: None,
) -> ChangeReport:
    """Compare two dates; whatever is wrong with them is told before the model is loaded.

    Args:
        folder: `dst` is one, whatever its name.
        moved: called with the report when all is in its place, while a death would still make the same command begin
            again.
    """
    began = time.perf_counter()
    request = run.request
    outputs = run.outputs(dst, folder=folder)
    with ExitStack() as stack:
        opened = stack.enter_context(PairSpec(before=request.spec, after=request.after).open())
        told = {**opened.before.identity(), **request.told()}
        check_unfinished(journal_beside(next(iter(outputs.values()))), told, resume=run.execution.resume)
        request = request.found(opened)
        segmenter = load()
        pair = stack.enter_context(request.open(segmenter))
        method = request.comparison(segmenter, offline=run.execution.offline)
        request = request.known(pair, segmenter, method)
        executor = None
        if not run.execution.is_here:
            device = str(segmenter.encoder.backbone.device)
            executor = stack.enter_context(run.execution.executor(device, preload=[PRELOAD]))
        job = ChangeJob(
            segmenter=segmenter, pair=pair, request=request, outputs=outputs, method=method,
            execution=run.execution, executor=executor,
        )  # fmt: skip
        console.notes(job.notes)
        enforce(job.notes, strict=request.strict)
        with console.bar("comparing", job.windows, unit="windows") as bar:
            report = job.run(tick=bar, skip=bar.skip, writing_begins=bar.writing, loading_s=waited(began), moved=moved)
    console.notes(report.notes)
    console.outputs(report.outputs, report.failures)
    return report
