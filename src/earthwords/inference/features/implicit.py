"""FeatUp's implicit upsampling under the contract of `models.upsamplers`: a network is fitted to every image.

How one is fitted is received, see `training.implicit_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

FeaturesOf = Callable[[Tensor], Tensor]
"""Images `(batch, 3, H, W)`, normalised, to features `(batch, dim, h, w)`."""


class Fine(Protocol):
    """The fine features of an image."""

    def features(self, size: tuple[int, int] | None = None) -> Tensor: ...


class Fit(Protocol):
    """Fits a network to one image `(1, 3, H, W)`."""

    def __call__(self, features_of: FeaturesOf, image: Tensor) -> Fine: ...

    @property
    def described(self) -> str:
        """All that the result depends on, as text."""

    def ticked(self, tick: Callable[[float], None]) -> Fit:
        """The same fit, which tells `tick` after every step which share of its image it was."""

    def held(self, pixels: int) -> int:
        """Bytes needed to fit an image of so many pixels."""

    def seconds(self, features_of: FeaturesOf, image: Tensor) -> float:
        """How long an image of this size takes, measured on a few steps."""


class FittedUpsampler(nn.Module):
    """`(features, image, size)` as the other upsamplers; the features are made anew from many views of the image."""

    def __init__(self, features_of: FeaturesOf, fit: Fit) -> None:
        super().__init__()
        self.features_of = features_of
        self.fit = fit

    @contextmanager
    def telling(self, tick: Callable[[float], None]) -> Iterator[None]:
        """Until the block ends, `tick` is told after every step which share of its image it was."""
        before, self.fit = self.fit, self.fit.ticked(tick)
        try:
            yield
        finally:
            self.fit = before

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` and `(batch, 3, H, W)` to `(batch, dim, *size)`."""
        with torch.inference_mode(False):
            images = image.clone().split(1)  # what inference mode made cannot be learned from
            return torch.cat([self.fit(self.features_of, one).features(size) for one in images])


def untold(share: float) -> None:
    """A `tick` of a fit that nobody watches; can be pickled."""
