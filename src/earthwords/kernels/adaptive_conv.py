"""Convolution with a kernel of its own at every pixel, shared by all channels.

`out[b, c, y, x] = sum_k kernels[b, k, y, x] * source[b, c, y + k // d, x + k % d]`, a correlation
with `d x d` offsets in row-major order (FeatUp, https://arxiv.org/abs/2403.10516).

Cost: `d^2 * C * H * W` multiply-adds. `reference` materialises a `C * d^2 * H * W` array (12 GB for
512 channels, d = 11 at 224 x 224); `adaptive_conv` adds one offset at a time and needs the output only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 2e-5


def reference(source: Tensor, kernels: Tensor) -> Tensor:
    """The formula by unfolding; see `adaptive_conv`."""
    batch, channels = source.shape[:2]
    offsets, height, width = kernels.shape[1:]
    patches = F.unfold(source, math.isqrt(offsets)).view(batch, channels, offsets, height, width)
    return torch.einsum("bckhw,bkhw->bchw", patches, kernels)


def adaptive_conv(source: Tensor, kernels: Tensor) -> Tensor:
    """Filter every pixel with its own kernel.

    Args:
        source: `(batch, channel, h + d - 1, w + d - 1)`, already padded.
        kernels: `(batch, d * d, h, w)`, offsets row-major.

    Returns:
        `(batch, channel, h, w)`. Differentiable in both arguments.
    """
    offsets, height, width = kernels.shape[1:]
    side = math.isqrt(offsets)
    out = source.new_zeros((*source.shape[:2], height, width))
    for k in range(offsets):
        row, col = divmod(k, side)
        out.addcmul_(source[:, :, row : row + height, col : col + width], kernels[:, k : k + 1])
    return out
