"""Resize and convolve, four times: a learned baseline of FeatUp's.

Paper: https://arxiv.org/abs/2403.10516; state-dict names are those of the authors' `LayeredResizeConv`
(https://github.com/mhamilton723/FeatUp), whose convolutions are 1 x 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from earthwords.models.upsamplers.jbu import load_jbu, steps_needed


class ResizeConv(nn.Module):
    """x2 steps, each a bilinear resize and what a convolution of it and the image adds.

    The authors' ratio is x16. Any other is served by as many steps as reach the size and one exact bilinear resize;
    beyond the fourth step the last convolution is applied again.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (nn.Conv2d(dim + 3, dim, 1) for _ in range(4))

    def forward(self, features: Tensor, image: Tensor, size: tuple[int, int]) -> Tensor:
        """`(batch, dim, h, w)` to `(batch, dim, *size)`, guided by `image` `(batch, 3, H, W)`."""
        for step in range(steps_needed(features.shape[-2:], size)):
            large = F.interpolate(features, scale_factor=2, mode="bilinear")
            guidance = F.interpolate(image, size=large.shape[-2:], mode="bilinear")
            features = large + self._added(torch.cat([large, guidance], dim=1), step)
        if features.shape[-2:] != torch.Size(size):
            features = F.interpolate(features, size=size, mode="bilinear")
        return features

    def _added(self, x: Tensor, step: int) -> Tensor:
        """Positive but for the fourth convolution, whose result stays as it is."""
        if step >= 3:
            out: Tensor = self.conv4(x)
            return out
        return F.relu((self.conv1, self.conv2, self.conv3)[step](x))


def build(dim: int, state: Mapping[str, Tensor] | None = None) -> ResizeConv:
    """A `ResizeConv` for `dim` channels with the weights in `state` (required)."""
    return load_jbu(ResizeConv(dim), state, name="resize-conv")
