"""The strips of a run that may be killed: those of an earlier run first, then new ones, each remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from earthwords.geo.scene import Scene
from earthwords.inference.features.row_store import Rows, RowStore
from earthwords.inference.features.strips import FeatureStrip, SceneFeatures
from earthwords.inference.features.upsampler import Upsampler
from earthwords.inference.features.window_store import WindowStore
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.types import Window

MOST_BYTES = 2**26
"""Of rows that are held until they are saved, unless one strip has more."""


def rows_held(upsampler: Upsampler, scene: Scene, row: int) -> int:
    """Bytes of rows that are held until they are saved, of `row` bytes each: those of a row of windows, or fewer."""
    stride = (upsampler.preset.tile_size - upsampler.preset.overlap) * scene.native.height / scene.grid.height
    return min(MOST_BYTES, int(0.9 * stride * row))  # the first row of windows gives a little less when resized


@dataclass(frozen=True, kw_only=True)
class SavedStrips:
    """The strips of some features, and what of them is on the disk."""

    features: SceneFeatures
    rows: RowStore
    windows: WindowStore | None
    """Of windows that are dear; None: what a kill costs is some seconds."""

    def done(self) -> int:
        """Windows that need not be computed again; none while nothing was observed."""
        missing = self.missing()
        kept = 0 if self.windows is None else self.windows.count(missing)
        return len(self.features.plan()) - len(missing) + kept if self.rows.observed or kept else 0

    def missing(self) -> list[Window]:
        """The windows of the rows that are not there."""
        return self.features.plan(self.rows.rows).windows if self.rows.rows < self._height else []

    def strips(self, make: Callable[[int], Iterator[FeatureStrip]], *, policy: FailurePolicy) -> Iterator[FeatureStrip]:
        """From top to bottom.

        Args:
            make: the strips from a row on.
            policy: told what was left out.
        """
        policy.add(self.rows.failures)
        for rows in self.rows.strips():
            yield self._seen(rows, policy)
        held: list[FeatureStrip] = []
        for strip in make(self.rows.rows) if self.rows.rows < self._height else ():
            held.append(strip)
            if self._enough(held):
                self._save(held, policy)
                held = []
            yield strip
        if held:
            self._save(held, policy)

    @property
    def _height(self) -> int:
        return self.features.scene.region.height

    def _enough(self, held: list[FeatureStrip]) -> bool:
        """Whether rows should be saved: they are those of a row of windows, or take much memory."""
        row = sum(strip.values[:, 0].nbytes for strip in held[:1])
        size = sum(strip.values.nbytes for strip in held)
        return size >= rows_held(self.features.upsampler, self.features.scene, row)

    def _save(self, held: list[FeatureStrip], policy: FailurePolicy) -> None:
        self.rows.save(held, policy.failures)
        if self.windows is not None:
            self.windows.forget_all_but(self.missing())

    def _seen(self, rows: Rows, policy: FailurePolicy) -> FeatureStrip:
        """A strip of an earlier run, with the image where that is looked at."""
        scene, region = self.features.scene, self.features.scene.region
        height = rows.values.shape[1]
        window = Window(row=region.row + rows.row, col=region.col, height=height, width=region.width)
        rgb = np.empty((3, 0, 0), np.float32)
        if rows.tokens is not None:
            rgb, _ = read_twice(scene.read_wanted, window, scene.native, policy)
        return FeatureStrip(
            row=rows.row, values=rows.values, tokens=rows.tokens, rgb=rgb, valid=~np.isnan(rows.values[0])
        )
