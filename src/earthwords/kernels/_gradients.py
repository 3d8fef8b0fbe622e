"""Gradients of the windowed kernels on a CPU, by the same compiled loops as their values.

`filtered` and `products` are each other's derivatives: the gradient of a filter's kernels are products of a window,
that of a product's factors are filtered images. Float32; not twice differentiable.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def filter_windows(source: Tensor, kernels: Tensor) -> Tensor:
    """`out[b, c, y, x] = sum_k kernels[b, k, y, x] * source[b, c, y + k // d, x + k % d]`, see `adaptive_conv`."""
    from earthwords.kernels._cpu import filter_rows, spaced

    batch, channels, rows, cols = source.shape
    last = source.new_empty((batch, rows, cols, spaced(channels)))
    last[..., :channels] = source.detach().permute(0, 2, 3, 1)
    out = source.new_empty((batch, *kernels.shape[2:], channels))
    for image, weights, target in zip(last, kernels.detach().contiguous(), out, strict=True):
        filter_rows(image.numpy(), weights.numpy(), target.numpy())
    return out.permute(0, 3, 1, 2).contiguous()


def multiply_windows(centre: Tensor, other: Tensor) -> Tensor:
    """`out[b, k, y, x] = <centre[b, :, y, x], other[b, :, y + k // d, x + k % d]>`.

    Args:
        centre: `(batch, dim, h, w)`.
        other: `(batch, dim, h + d - 1, w + d - 1)`.

    Returns:
        `(batch, d * d, h, w)`.
    """
    from earthwords.kernels._cpu import window_products

    batch, _, height, width = centre.shape
    side = other.shape[-1] - width + 1
    framed = F.pad(centre.detach(), [side // 2] * 4).contiguous()
    out = centre.new_empty((batch, side * side, height, width))
    for own, image, target in zip(framed, other.detach().contiguous(), out, strict=True):
        window_products(own.numpy(), image.numpy(), 0, target.numpy())
    return out


class Filtered(torch.autograd.Function):
    """`filter_windows`, differentiable."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, kernels: Tensor) -> Tensor:
        ctx.save_for_backward(source, kernels)
        return filter_windows(source, kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        source, kernels = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _scatter(gradient, kernels) if wanted[0] else None,
            multiply_windows(gradient, source) if wanted[1] else None,
        )


class Products(torch.autograd.Function):
    """`multiply_windows`, differentiable."""

    @staticmethod
    def forward(ctx: Any, centre: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(centre, other)
        return multiply_windows(centre, other)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        centre, other = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return filter_windows(other, gradient) if wanted[0] else None, _scatter(centre, gradient) if wanted[1] else None


def _scatter(values: Tensor, kernels: Tensor) -> Tensor:
    """What `filter_windows` gathers, given back: `(batch, c, h, w)` to `(batch, c, h + d - 1, w + d - 1)`.

    It is a filter itself, of the framed values with each offset's kernel moved to where it was read and the window
    turned around.
    """
    batch, offsets, height, width = kernels.shape
    side = math.isqrt(offsets)
    turned = kernels.new_zeros((batch, offsets, height + side - 1, width + side - 1))
    for k in range(offsets):
        row, col = divmod(k, side)
        turned[:, offsets - 1 - k, row : row + height, col : col + width] = kernels[:, k]
    return filter_windows(F.pad(values.detach(), [side - 1] * 4), turned)
