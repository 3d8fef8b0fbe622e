"""What masks are compared by: features of a picture, of a network that looks at it in squares or at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.clip.model import ClipBackbone, DenseMethod
from earthwords.models.dino import DinoBackbone

Features = Callable[[NDArray[np.float32]], Tensor]
"""A picture `(3, row, col)`, 0..1, to features `(dim, row, col)` of the same ground."""


@dataclass(frozen=True, kw_only=True)
class DinoFeatures:
    """The whole picture at its own size, as DynamicEarth does it."""

    backbone: DinoBackbone

    def __call__(self, picture: NDArray[np.float32]) -> Tensor:
        """See `Features`; a picture smaller than a patch is enlarged to one."""
        pixels = _normalised(picture, self.backbone.mean, self.backbone.std, self.backbone.device)
        return self.backbone.encode_dense(_at_least(pixels, self.backbone.patch))[0]


@dataclass(frozen=True, kw_only=True)
class ClipFeatures:
    """Squares side by side, each as large as the windows of segmentation: a CLIP knows no larger pictures."""

    backbone: ClipBackbone
    method: DenseMethod
    side: int
    """Of a square, pixels; cut to whole patches."""
    batch: int = 8

    @torch.inference_mode()
    def __call__(self, picture: NDArray[np.float32]) -> Tensor:
        """See `Features`; cells beyond the right and the lower border are cut off."""
        patch, height, width = self.backbone.patch, picture.shape[1], picture.shape[2]
        side = max(1, min(self.side, max(height, width)) // patch) * patch
        pixels = _normalised(picture, self.backbone.mean, self.backbone.std, self.backbone.device)
        down, across = math.ceil(height / side), math.ceil(width / side)
        padded = F.pad(pixels, (0, across * side - width, 0, down * side - height), mode="replicate")
        squares = padded[0].unflatten(1, (down, side)).unflatten(3, (across, side)).permute(1, 3, 0, 2, 4).flatten(0, 1)
        parts = [self.backbone.encode_dense(part, self.method).values for part in squares.split(self.batch)]
        cells = torch.cat(parts).unflatten(0, (down, across)).permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)
        found: Tensor = cells[:, : math.ceil(height / patch), : math.ceil(width / patch)]
        return found


def _normalised(
    picture: NDArray[np.float32], mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Tensor:
    """`(1, 3, row, col)` on a device."""
    centre, spread = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return ((torch.from_numpy(np.ascontiguousarray(picture)) - centre) / spread)[None].to(device)


def _at_least(pixels: Tensor, side: int) -> Tensor:
    height, width = (max(side, int(n)) for n in pixels.shape[-2:])
    if (height, width) == tuple(pixels.shape[-2:]):
        return pixels
    return F.interpolate(pixels, (height, width), mode="bilinear", align_corners=False)
