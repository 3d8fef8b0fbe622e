"""Convolution with a kernel of its own at every pixel, shared by all channels.

`out[b, c, y, x] = sum_k kernels[b, k, y, x] * source[b, c, y + k // d, x + k % d]`, a correlation
with `d x d` offsets in row-major order (FeatUp, https://arxiv.org/abs/2403.10516).

Cost: `d^2 * C * H * W` multiply-adds. `reference` materialises a `C * d^2 * H * W` array (12 GB for
512 channels, d = 11 at 224 x 224); the other paths hold the output, on a CPU also a copy of the source.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._dispatch import path

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
    return path(PATHS, source, kernels)(source, kernels)


def by_offset(source: Tensor, kernels: Tensor) -> Tensor:
    """Add the image moved by one offset at a time, in plain PyTorch."""
    offsets, height, width = kernels.shape[1:]
    side = math.isqrt(offsets)
    out = source.new_zeros((*source.shape[:2], height, width))
    for k in range(offsets):
        row, col = divmod(k, side)
        out.addcmul_(source[:, :, row : row + height, col : col + width], kernels[:, k : k + 1])
    return out


def _numba(source: Tensor, kernels: Tensor) -> Tensor:
    from earthwords.kernels._gradients import filter_windows

    return filter_windows(source, kernels)


def _autograd(source: Tensor, kernels: Tensor) -> Tensor:
    from earthwords.kernels._gradients import Filtered

    out: Tensor = Filtered.apply(source, kernels)
    return out


def _triton(source: Tensor, kernels: Tensor) -> Tensor:
    from earthwords.kernels._triton import AdaptiveConv

    out: Tensor = AdaptiveConv.apply(source, kernels)
    return out


PATHS = {"numba": _numba, "autograd": _autograd, "triton": _triton, "torch": by_offset}
