"""Bilinear interpolation (align_corners False): the baseline that needs no weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F


class Bilinear(nn.Module):
    """Interpolates the features and ignores the image."""

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, *size)`."""
        return F.interpolate(features, size=size, mode="bilinear", align_corners=False)


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> Bilinear:
    """`dim` and `state` are not needed: there are no weights."""
    return Bilinear()
