"""Similarity of every pixel to its neighbours: the range part of a joint bilateral filter.

`out[b, k, y, x] = softmax_k(temperature * <keys[b, :, y, x], keys[b, :, (y, x) + offset_k]>)` over the
`(2 r + 1)^2` offsets of a window, row-major, reflect padding (FeatUp, https://arxiv.org/abs/2403.10516).

Cost: `d^2 * D * H * W` multiply-adds. `reference` materialises `D * d^2 * H * W` numbers, the other paths
only the `d^2 * H * W` of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels._dispatch import path
from earthwords.kernels._offsets import by_offset

TOLERANCE = 2e-5


def reference(keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
    """The formula by unfolding; see `range_kernel`."""
    batch, dim, height, width = keys.shape
    side = 2 * radius + 1
    padded = F.pad(keys, [radius] * 4, mode="reflect")
    neighbours = F.unfold(padded, side).view(batch, dim, side * side, height, width)
    return (temperature * torch.einsum("bdkhw,bdhw->bkhw", neighbours, keys)).softmax(dim=1)


def range_kernel(keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
    """Softmax over a window of the dot products of `keys`.

    Args:
        keys: `(batch, dim, h, w)`, h and w > radius.
        temperature: scalar factor of the dot products.
        radius: of the square window.

    Returns:
        `(batch, (2 radius + 1)^2, h, w)`, sums to one over the offsets. Differentiable in both tensors.
    """
    return path(PATHS, keys, temperature)(keys, temperature, radius)


def _numba(keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
    from earthwords.kernels._gradients import multiply_windows

    padded = F.pad(keys.detach(), [radius] * 4, mode="reflect")
    return multiply_windows(keys, padded).mul_(temperature.detach()).softmax(dim=1)


def _autograd(keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
    from earthwords.kernels._gradients import Products

    products: Tensor = Products.apply(keys, F.pad(keys, [radius] * 4, mode="reflect"))
    return (temperature * products).softmax(dim=1)


def _triton(keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
    from earthwords.kernels._triton import RangeKernel

    out: Tensor = RangeKernel.apply(keys, temperature, radius)
    return out


PATHS = {"numba": _numba, "autograd": _autograd, "triton": _triton, "torch": by_offset}
