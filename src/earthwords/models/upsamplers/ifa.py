"""IFA as FeatUp compares itself with: the nearest token's features and the way to it, through a small network.

Paper: https://arxiv.org/abs/2206.08655; this form of it, and the state-dict names, are those of FeatUp's `IFA`
(https://github.com/mhamilton723/FeatUp). It does not look at the image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.upsamplers._implicit import coordinates, fourier
from earthwords.models.upsamplers.jbu import load_jbu, steps_needed

FREQUENCIES = 20


class Ifa(nn.Module):
    """x2 steps with the same weights until the size is reached; any size between is resized bilinearly.

    The authors' has one step and square maps only.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Conv2d(dim + 4 * FREQUENCIES + 2, dim, 1),
            nn.BatchNorm2d(dim),
            nn.LeakyReLU(),
            nn.Conv2d(dim, dim, 1),
        )

    def twice(self, features: Tensor) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, 2h, 2w)`."""
        near = F.interpolate(features, scale_factor=2, mode="nearest")
        place = torch.cat([fourier(coordinates(near), FREQUENCIES), _way(features)], dim=1)
        out: Tensor = self.mlp(torch.cat([near, place.expand(len(near), -1, -1, -1)], dim=1))
        return out

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, *size)`."""
        for _ in range(steps_needed(features.shape[-2:], size)):
            features = self.twice(features)
        if features.shape[-2:] != torch.Size(size):
            features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
        return features


def _way(features: Tensor) -> Tensor:
    """`(1, 2, 2h, 2w)`: from each fine place to that of its token, in rows and columns of tokens."""
    axes = []
    for n in features.shape[-2:]:
        coarse, fine = (torch.linspace(0, n, m, device=features.device, dtype=features.dtype) for m in (n, 2 * n))
        axes.append(coarse.repeat_interleave(2) - fine)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None]


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> Ifa:
    """An `Ifa` for `dim` channels with the weights in `state` (required)."""
    return load_jbu(Ifa(dim), state, name="ifa")
