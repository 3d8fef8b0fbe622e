"""Small networks that exist only while an upsampler is trained.

`ScaleNet`: FeatUp, https://arxiv.org/abs/2403.10516 (https://github.com/mhamilton723/FeatUp); `ContentRetention`:
SimFeatUp, https://arxiv.org/abs/2410.01768 (https://github.com/likyoo/SimFeatUp). State-dict names are the authors'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ScaleNet(nn.Module):
    """How uncertain each of the backbone's own features is: the standard deviation that the loss divides by."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Conv2d(dim, 1, 1)
        _shrink(self.net, 0.1)

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, 1, h, w)`, at least 1e-4."""
        scores: Tensor = self.net(features)
        return (scores + 0.1).exp().clamp(min=1e-4)


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of `(batch, dim, h, w)`, names `weight` and `bias`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ContentRetention(nn.Module):
    """SimFeatUp's guess of the image from upsampled features, so that these keep what can be seen.

    It gives -1..1 while the image it is compared with is normalised, about -2.1..2.6: so it is in the authors' code.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection_img = nn.Sequential(
            nn.Conv2d(dim, dim, 1), LayerNorm2d(dim, eps=1e-6), nn.GELU(), nn.Conv2d(dim, 3, 1), nn.Tanh()
        )

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, dim, H, W)` to `(batch, 3, H, W)`."""
        out: Tensor = self.projection_img(features)
        return out


def near_identity(dim: int, *, strength: float = 0.9) -> nn.Conv2d:
    """FeatUp's `id_conv`: a 1 x 1 convolution that begins as `strength` of the identity and the rest at random."""
    convolution = nn.Conv2d(dim, dim, 1)
    _shrink(convolution, 1 - strength)
    with torch.no_grad():
        convolution.weight.add_(strength * torch.eye(dim)[:, :, None, None])
    return convolution


def _shrink(convolution: nn.Conv2d, factor: float) -> None:
    with torch.no_grad():
        for parameter in convolution.parameters():
            parameter.mul_(factor)
