"""A scene of any size, segmented and written in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earthwords.geo.scene import Scene
from earthwords.inference.outputs import About, OutputOptions, write_outputs
from earthwords.inference.segmenter import Segmenter
from earthwords.types import Grid, SceneReport, Vocabulary


@dataclass(frozen=True, kw_only=True)
class SceneJob:
    """What to make of a scene."""

    segmenter: Segmenter
    scene: Scene
    vocabulary: Vocabulary
    outputs: Mapping[str, Path]
    """Kind to path, see `write_outputs`."""
    threshold: float | None = None
    """Least probability of a label; None: the preset's."""
    options: OutputOptions = field(default_factory=OutputOptions)

    @property
    def grid(self) -> Grid:
        """Of all outputs: the region asked for, in the source's own pixels."""
        return self.scene.native.window(self.scene.region)

    def run(self, *, tick: Callable[[int], None] = lambda windows: None, loading_s: float = 0.0) -> SceneReport:
        """Do it.

        Args:
            tick: called with the number of windows done.
            loading_s: time already spent, for the report.

        Raises:
            UsageError: the windows are impossible, or an output exists.
            OutputError: an output cannot be written.
            SourceError: the scene is damaged.
        """
        strips = self.segmenter.strips(
            self.scene,
            self.segmenter.text_bank(self.vocabulary),
            threshold=self.threshold,
            probabilities=self.options.probabilities != "no",
            tick=tick,
        )
        tags = self.scene.tags()
        about = About(
            source=tags["EARTHWORDS_SOURCE"],
            grid=self.grid,
            vocabulary=self.vocabulary,
            tags={**tags, **self.segmenter.tags(self.vocabulary, threshold=self.threshold)},
            notes=self.scene.notes,
            loading_s=loading_s,
        )
        return write_outputs(self.outputs, strips, about=about, options=self.options)
