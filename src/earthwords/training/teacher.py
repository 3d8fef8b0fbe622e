"""What an upsampler learns from: dense features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from earthwords.errors import unknown
from earthwords.models.clip.model import FEATURES, PENULTIMATE, ClipBackbone, DenseMethod

Images = Callable[[np.random.Generator, int, int], Tensor]
"""`(rng, count, side)` to `count` images `(count, 3, side, side)` float32 in 0..1."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A frozen backbone."""

    name: str
    """Weights and kind of features."""
    patch: int
    """Pixels a side of one token."""
    dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    encode: Callable[[Tensor], Tensor]
    """Images `(batch, 3, H, W)`, normalised, sides multiples of the patch, to features `(batch, dim, h, w)`."""

    def normalise(self, images: Tensor) -> Tensor:
        """Images `(batch, 3, H, W)` in 0..1 as the backbone wants them."""
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of images in 0..1; not differentiable."""
        return self.encode(self.normalise(images))


def teacher(backbone: ClipBackbone, features: str = PENULTIMATE) -> Teacher:
    """The dense features of a CLIP by a name of `FEATURES`.

    Raises:
        UsageError: unknown name.
    """
    if features not in FEATURES:
        raise unknown("kind of features", features, FEATURES)
    method = DenseMethod(attention="vanilla" if features == PENULTIMATE else features)

    def encode(images: Tensor) -> Tensor:
        found = (
            backbone.encode_penultimate(images) if features == PENULTIMATE else backbone.encode_dense(images, method)
        )
        return found.values

    return Teacher(
        name=f"{backbone.weights_id}:{features}",
        patch=backbone.patch,
        dim=backbone.dim,
        mean=tuple(backbone.mean),
        std=tuple(backbone.std),
        encode=encode,
    )
