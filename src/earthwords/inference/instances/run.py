"""What `count` does with a scene, and with each of many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from earthwords.geo.destinations import plan_counts
from earthwords.geo.sources.find import Sources
from earthwords.geo.sources.inputs import Inputs
from earthwords.inference.instances.job import CountJob
from earthwords.inference.instances.report import CountReport
from earthwords.inference.instances.request import CountRequest
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.run import SegmentRun, segment_all
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.jobs.progress import Console
from earthwords.reports import BatchReport


class CountRun(SegmentRun):
    """A map from strip to strip, of which only what is counted is kept."""

    DOING: ClassVar[str] = "counting"

    @property
    def work_on(self) -> type[SceneJob]:
        """See `SegmentRun`."""
        assert isinstance(self.request, CountRequest)
        if self.request.counting.method != "instructsam":
            return CountJob
        from earthwords.inference.instances.instructsam.job import MaskCountJob  # transformers takes seconds to load

        return MaskCountJob

    def plan(self, dst: Path, *, overwrite: bool, inputs: Inputs | None, folder: bool) -> dict[str, Path]:
        """See `plan_counts`."""
        zones = self.request.zones is not None
        return plan_counts(dst, zones=zones, overwrite=overwrite, inputs=inputs, folder=folder)


def count_all(
    run: CountRun, load: Callable[[], Segmenter], source: str, many: Sources | None, dst: Path, console: Console
) -> CountReport | BatchReport:
    """Count in a single scene, or in `many`, as `segment_all`."""
    report = segment_all(run, load, source, many, dst, console)
    assert isinstance(report, (CountReport, BatchReport))
    return report
