"""FeatUp's implicit upsampling as something to hand over: settings by name, and what they will cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from earthwords.errors import unknown
from earthwords.training.implicit import SETTINGS, FeaturesOf, ImplicitFit, ImplicitSettings, fit
from earthwords.training.loop import Progress

TRIAL = (2, 6)
"""Steps of the two short fits that time is measured with."""
MAPS = 6
"""Copies of the Fourier features that a step holds: layers before and after, and their gradients."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """`fit` with its settings; see `implicit_fit`."""

    settings: ImplicitSettings
    seed: int = 0
    tick: Callable[[float], None] = field(default=lambda share: None, compare=False)
    """Told after every step which share of its image it was."""

    def __call__(self, features_of: FeaturesOf, image: Tensor) -> ImplicitFit:
        """The fit of an image `(1, 3, H, W)`."""

        def report(progress: Progress) -> None:
            self.tick(1 / progress.steps)

        return fit(features_of, image, settings=self.settings, seed=self.seed, progress=report)

    @property
    def described(self) -> str:
        """All that the result depends on, as text."""
        return f"{self.settings}, seed {self.seed}"

    def ticked(self, tick: Callable[[float], None]) -> Fitting:
        """The same, which tells `tick` after every step which share of its image it was."""
        return replace(self, tick=tick)

    def held(self, pixels: int) -> int:
        """Bytes needed to fit an image of so many pixels, roughly."""
        row = self.settings
        fine = pixels // row.shrink**2
        maps = MAPS * (10 * row.frequencies + 3) + (4 * row.views_per_step + 8) * (row.dim + 1)
        return 4 * fine * maps + 4 * 3 * pixels * row.batch

    def seconds(self, features_of: FeaturesOf, image: Tensor) -> float:
        """How long an image of this size takes, from two short fits."""
        row = self.settings
        views = min(row.views, 2 * row.batch)
        took = []
        for steps in TRIAL:
            began = time.perf_counter()
            fit(
                features_of, image, settings=replace(row, steps=steps, views=views, pca_views=min(views, row.pca_views))
            )
            took.append(time.perf_counter() - began)
        step = max(0.0, (took[1] - took[0]) / (TRIAL[1] - TRIAL[0]))
        return (took[0] - TRIAL[0] * step) * row.views / views + row.steps * step


def implicit_fit(
    settings: str | ImplicitSettings = "reduced", *, tick: Callable[[float], None] = lambda share: None
) -> Fitting:
    """How `Upsampler.from_preset(method="featup-implicit", fit=...)` fits a network to an image.

    Args:
        settings: `reduced` (for a CPU) or `full` (the paper's steps, views and components, for a GPU); both keep the
            backbone's own features instead of normalising them. Or a row of your own, taken as it is.
        tick: told after every step which share of its image it was.

    Raises:
        UsageError: no such settings.
    """
    if isinstance(settings, ImplicitSettings):
        return Fitting(settings=settings, tick=tick)
    if settings not in SETTINGS:
        raise unknown("settings of a fit", settings, SETTINGS)
    return Fitting(settings=replace(SETTINGS[settings], norm="scale"), tick=tick)
