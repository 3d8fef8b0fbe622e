"""A part of two dates with all that a method may ask of it, and what a method says of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.scene import Scene
from earthwords.inference.change.dates.pair import DatePair, PairFacts
from earthwords.inference.segment.segmenter import Segmenter
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.jobs.job import Tick
from earthwords.types import TextBank, Window


@dataclass(frozen=True, kw_only=True)
class PairWindow:
    """A rectangle of pixels of the first date, on which both dates lie; nothing is read before it is asked for."""

    pair: DatePair
    facts: PairFacts
    window: Window
    """Native pixels of the first date, what has to be told and the margin that the method asked for."""
    segmenter: Segmenter
    bank: TextBank
    scales: int = 1
    """Resolutions at which words are asked, each twice as fine as the one before."""
    policy: FailurePolicy = field(default_factory=FailurePolicy)
    tick: Tick = lambda windows: None

    def at(self, window: Window) -> PairWindow:
        """Another rectangle of the same."""
        return replace(self, window=window)

    @property
    def zoom(self) -> float:
        """Pixels along a pixel of the working grid, at least 1: lengths in the ground are that much longer here."""
        return self.pair.zoom

    @cached_property
    def rgb(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of both dates `(3, row, col)`, 0..1, 0 where invalid."""
        return self._read[0][0], self._read[1][0]

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """`(row, col)`: where both dates show something."""
        return self._read[0][1] & self._read[1][1]

    @property
    def probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of the classes `(class, row, col)` on both dates, NaN where nothing was observed; at the working grid."""
        return self.at_scales[0]

    @cached_property
    def at_scales(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """The same at every resolution, the working grid's first."""
        pairs = resolutions(self.segmenter, self.pair.within(self.window), self.scales)
        return [(self._segmented(pair.before), self._segmented(pair.after)) for pair in pairs]

    @cached_property
    def _read(self) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        scenes = self.pair.scenes
        return [read_twice(scene.read_rgb, self.window, scene.native, self.policy) for scene in scenes]

    def _segmented(self, scene: Scene) -> NDArray[np.float32]:
        whole = scene.everywhere()  # around what is asked for, too
        strips = self.segmenter.strips(whole, self.bank, probabilities=True, policy=self.policy, tick=self.tick)
        found = [strip.probabilities for strip in strips]
        return np.concatenate([part for part in found if part is not None], axis=1)


def resolutions(segmenter: Segmenter, pair: DatePair, count: int) -> list[DatePair]:
    """A pair at so many resolutions, none finer than the weights know."""
    known = segmenter.preset.gsd
    return pair.scales(count, None if known is None else known[0])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a method says of a window, arrays `(row, col)`."""

    before: NDArray[np.integer]
    """Class on the first date; where nothing changed the same as on the second."""
    after: NDArray[np.integer]
    score: NDArray[np.float32]
    """How sure a change is, 0..1; 0 where nothing changed."""
    seen: NDArray[np.bool_]
    """Where both dates show something; elsewhere the others mean nothing."""


class ChangeMethod(Protocol):
    """How two dates are compared."""

    sides: ClassVar[tuple[int, ...]] = (1024,)
    """Of blocks that get the same answer, native pixels, the largest first: less memory may ask for a smaller one."""

    @abstractmethod
    def margin(self, zoom: float) -> int:
        """Pixels around a block that decide about it; those of a pair with that `zoom`."""

    def held(self, classes: int, scales: int) -> int:
        """Bytes that a pixel of a block and its margin takes: probabilities and pictures of both dates, and work."""
        return 16 * classes + 160

    def known(self, whole: PairWindow) -> PairFacts:
        """What is to be known of all that both dates cover before a block is compared: its facts and more."""
        return whole.facts

    @abstractmethod
    def __call__(self, pair: PairWindow) -> Comparison:
        """Compare a window; the same block must get the same answer whatever lies further away than the margin."""
