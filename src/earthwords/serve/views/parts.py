"""What goes to the process of views, and what comes back; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from earthwords.serve.library import ServedRaster
from earthwords.serve.views.picture import TopScores
from earthwords.types import Grid, Vocabulary, Window

SLACK = 1.125
"""A part that is larger than wanted by less than this is not shrunk: its own pixels say more."""


@dataclass(frozen=True, kw_only=True)
class ViewPart:
    """A part of a source that is looked at."""

    raster: ServedRaster
    window: Window
    """In the source's own pixels."""
    max_side: int
    """Pixels a side at most; a larger part is shrunk to it."""

    @property
    def shrunk(self) -> bool:
        """Whether it is seen in larger pixels than its own."""
        return max(self.window.height, self.window.width) > self.max_side * SLACK

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from others."""
        return self.raster.id, self.raster.stamp, self.window, self.max_side if self.shrunk else 0

    def placed(self, grid: Grid) -> Grid:
        """Where the map shows a grid that was cut from the source."""
        whole = self.raster.facts.placed.window(self.window)
        return whole.resized(*grid.shape)


@dataclass(frozen=True, kw_only=True)
class SeenView:
    """What is told of a map of a part."""

    result: bytes
    """The pickled `SegmentationResult` at a threshold of 0, for exports; loading it loads torch."""
    vocabulary: Vocabulary
    grid: Grid
    scores: TopScores
    placed: Grid
    """Where the map shows `grid`."""
    thresholds: dict[str, float]
    notes: list[dict[str, str]]
    seconds: float
    cached: bool
    """Whether no window had to be worked on."""
