"""A scene of any size in which things are counted: the walk is that of `segment`, the outputs are instances."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from earthwords.inference.instances.candidates import Finder
from earthwords.inference.instances.finders import PeakFinder, RegionFinder
from earthwords.inference.instances.options import CountOptions
from earthwords.inference.instances.report import CountReport
from earthwords.inference.instances.request import CountRequest
from earthwords.inference.instances.writing import CountWork, write_counts
from earthwords.inference.segment.job import SceneJob
from earthwords.inference.segment.map_job import Writing
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.strip import Strip
from earthwords.types import Grid, Window
from earthwords.viz.panels import Averages, to_bytes

PICTURE_SIDE, PICTURE_ROWS = 1024, 256
"""Longest side of the picture that a server gets, and rows read at once for it."""
LEAST_SHARE = 0.1
"""Of what the model sees as one: smaller regions are specks, where nobody says what is small."""


@dataclass(frozen=True, kw_only=True)
class CountJob(SceneJob):
    """What to count in a scene."""

    request: CountRequest

    @property
    def seen(self) -> float:
        """Side of what the model sees as one, a token, in pixels of the scene."""
        zoom = self.scene.grid.width / self.scene.native.width
        return float(self.segmenter.backbone.patch / zoom)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """See `SceneJob`; enlarging a scene on our own accord is no mistake of the user's."""
        usual = self.segmenter.at_working_gsd(self.scene.at(None)) if self.request.spec.gsd is None else self.scene
        if usual.grid.shape == self.scene.grid.shape or self.request.counting.method == "instructsam":
            return super().notes
        notes = replace(self, scene=usual).notes
        what = ", ".join(self.request.vocabulary.titles[label] for label in self.request.counting.counted)
        return (
            *notes,
            f"{what}: small beside what the model sees as one at {usual.grid.gsd_m:.3g} m a pixel, so the scene is "
            f"looked at with {self.scene.grid.gsd_m:.3g} m, which takes four times as long; --gsd says otherwise.",
        )

    @cached_property
    def counting(self) -> CountOptions:
        """The options, with sizes where none were given."""
        asked, metres = self.request.counting, self.grid.gsd_m or 1.0
        least = LEAST_SHARE * (self.seen * metres) ** 2 if asked.min_area is None else asked.min_area
        apart = self.seen * metres if asked.distance is None else asked.distance
        return replace(asked, min_area=least, distance=apart)

    def finding(self) -> CountWork:
        """How strips become instances; a server is asked here, before anything else is done.

        Raises:
            ServerError: it gives no counts.
        """
        counting, notes = self.counting, tuple[str, ...]()
        if (server := counting.server) is not None:
            picture, size = self._picture()
            words = self.request.vocabulary
            numbers, _ = server.ask(picture, words, counting.counted)
            counting = replace(counting, server=None, expected=numbers)
            told = ", ".join(f"{words.titles[c]} {n:,}" for c, n in zip(counting.counted, numbers, strict=True))
            notes = (f"{server.shown} counted in a picture of {size}: {told}.",)
        finder = self.finder(counting)
        return CountWork(
            finder=finder, counting=counting, seen=self.seen, sizes=self.request.sizes, zones=self.zones, notes=notes
        )

    def finder(self, counting: CountOptions) -> Finder:
        """Who finds candidates."""
        return _finder(counting, self.grid, self)

    def _picture(self) -> tuple[Image.Image, str]:
        """The scene as a picture for a server, and its size in words."""
        region, policy = self.scene.region, FailurePolicy(on_error=self.request.on_error)
        seen = Averages(self.grid, 3, max_side=PICTURE_SIDE)
        for row in range(0, region.height, PICTURE_ROWS):
            tall = min(PICTURE_ROWS, region.height - row)
            window = Window(row=region.row + row, col=region.col, height=tall, width=region.width)
            seen.add(row, *read_twice(self.scene.read_wanted, window, self.scene.native, policy))
        size, metres = f"{seen.width} x {seen.height} pixels", self.grid.gsd_m
        shown = size if metres is None else f"{size} of {metres * self.grid.width / seen.width:.3g} m"
        return Image.fromarray(to_bytes(seen.means)), shown

    def write(self, strips: Iterable[Strip], how: Writing) -> CountReport:
        """See `SceneJob.write`."""
        return write_counts(
            self.outputs, strips, about=self.about(how), options=self.request.options, work=self.finding(),
            policy=how.policy, writing_begins=how.writing_begins, moved=how.moved,
        )  # fmt: skip


def _finder(counting: CountOptions, grid: Grid, job: CountJob) -> RegionFinder | PeakFinder:
    assert counting.distance is not None and counting.min_area is not None
    vocabulary = job.request.vocabulary
    if counting.method == "peaks":
        pixels = max(1.0, counting.distance / (grid.gsd_m or 1.0))
        return PeakFinder(grid=grid, vocabulary=vocabulary, counted=counting.counted, distance=pixels)
    return RegionFinder(
        grid=grid, vocabulary=vocabulary, counted=counting.counted, split=counting.split,
        min_area=counting.min_area, kept=counting.needs_probabilities,
    )  # fmt: skip
