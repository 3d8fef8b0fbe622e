"""FeatUp's implicit upsampling under the contract of `models.upsamplers`: a network is fitted to every image.

How one is fitted is received, see `training.fitting`.
"""

from __future__ import annotations

from collections.abc import Callable
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

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` and `(batch, 3, H, W)` to `(batch, dim, *size)`."""
        with torch.inference_mode(False):
            images = image.clone().split(1)  # what inference mode made cannot be learned from
            return torch.cat([self.fit(self.features_of, one).features(size) for one in images])
