"""Residual block of 1 x 1 convolutions: `x + B silu(norm(A silu(norm(x))))`, norms over groups of channels and pixels.

Pixels only meet in the norms' means and variances. So once these are known a strip of pixels goes through everything
between two norms while it is in the processor's cache, where whole maps would be written and read for every operation.

Cost: `2 * width^2` multiply-adds a pixel. `reference` holds three maps besides `x`, `in_strips` one, the result. For
their gradients `reference` keeps six maps, `remembering` two: what lies between is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from earthwords.kernels._dispatch import backends, wants_gradient
from earthwords.kernels.linear import linear

TOLERANCE = 2e-5

STRIP = 2048
"""Pixels that go through together: a megabyte of 128 channels."""


@dataclass(frozen=True, kw_only=True)
class Half:
    """Norm and convolution of half a block."""

    groups: int
    scale: Tensor
    """`(width,)`, of the norm."""
    shift: Tensor
    """`(width,)`, of the norm."""
    mix: Tensor
    """`(width, width)`, out by in."""
    eps: float = 1e-5


def reference(x: Tensor, first: Half, second: Half) -> Tensor:
    """The formula; see `residual_block`."""
    out = x
    for half in (first, second):
        normal = F.group_norm(out, half.groups, half.scale, half.shift, half.eps)
        out = F.conv2d(F.silu(normal), half.mix[:, :, None, None])
    return out + x


def residual_block(x: Tensor, first: Half, second: Half) -> Tensor:
    """`(batch, width, h, w)` to the same shape. A map of one strip fits the cache whole and takes `reference`."""
    tensors = (x, first.scale, first.shift, first.mix, second.scale, second.shift, second.mix)
    if (
        wants_gradient(*tensors)
        and {t.device.type for t in tensors} == {"cpu"}
        and not torch.is_autocast_enabled("cpu")
    ):
        return remembering(x, first, second)
    large = x.shape[-2] * x.shape[-1] > STRIP
    return (in_strips if large and "numba" in backends(*tensors) else reference)(x, first, second)


def in_strips(x: Tensor, first: Half, second: Half) -> Tensor:
    """Image by image, strip by strip; not differentiable."""
    source = x.permute(0, 2, 3, 1).contiguous()
    out = torch.empty_like(source)
    for image, target in zip(source.flatten(1, 2), out.flatten(1, 2), strict=True):
        scale, shift = affine(image, first)
        for rows, made in zip(image.split(STRIP), target.split(STRIP), strict=True):
            made.copy_(linear(F.silu(torch.addcmul(shift, rows, scale), inplace=True), first.mix))
        scale, shift = affine(target, second)
        for rows, made in zip(image.split(STRIP), target.split(STRIP), strict=True):
            mixed = linear(F.silu(torch.addcmul(shift, made, scale), inplace=True), second.mix)
            torch.add(rows, mixed, out=made)
    return out.permute(0, 3, 1, 2)


def remembering(x: Tensor, first: Half, second: Half) -> Tensor:
    """Differentiable, once, for all tensors of one dtype."""
    out = x
    for half in (first, second):
        out = _Mixed.apply(out, half.scale, half.shift, half.mix, half.groups, half.eps)
    return out + x


class _Mixed(torch.autograd.Function):
    """`mix silu(norm(x))`; only `x` is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, mix: Tensor, groups: int, eps: float) -> Tensor:
        x = x.contiguous()
        normal, mean, inverse = torch.native_group_norm(x, scale, shift, *_sizes(x), groups, eps)
        ctx.save_for_backward(x, scale, shift, mix, mean, inverse)
        ctx.groups, ctx.eps = groups, eps
        return product(mix, F.silu(normal, inplace=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, mix, mean, inverse = ctx.saved_tensors
        normal, *_ = torch.native_group_norm(x, scale, shift, *_sizes(x), ctx.groups, ctx.eps)
        inner = torch.ops.aten.silu_backward(product(mix.T.contiguous(), gradient), normal)
        own = _outer(gradient, F.silu(normal, inplace=True))
        parts = torch.ops.aten.native_group_norm_backward(
            inner, x, mean, inverse, scale, *_sizes(x), ctx.groups, [True, True, True]
        )
        return (*parts, own, None, None)


class Mix(nn.Conv2d):
    """A 1 x 1 convolution without bias, by way of `product` on a CPU."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if _remembers(x, self.weight):
            out: Tensor = _Product.apply(self.weight.flatten(1), x)
            return out
        return super().forward(x)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mix: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(mix, x)
        return product(mix, x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        mix, x = ctx.saved_tensors
        back = product(mix.T.contiguous(), gradient) if ctx.needs_input_grad[1] else None
        return _outer(gradient, x), back


def product(mix: Tensor, x: Tensor) -> Tensor:
    """`(out, in)` times the channels of `(batch, in, h, w)`: `(batch, out, h, w)`; no gradient."""
    parts = [linear(mix, image.flatten(1).T).view(1, -1, *image.shape[1:]) for image in x]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _outer(first: Tensor, second: Tensor) -> Tensor:
    """`(width, width)`: products of channels, summed over pixels and images."""
    total = first.new_zeros(first.shape[1], second.shape[1])
    for one, other in zip(first, second, strict=True):
        total += linear(one.flatten(1), other.flatten(1))
    return total


def _remembers(*tensors: Tensor) -> bool:
    """Whether a gradient is wanted that our own formulas give: on a CPU, in one dtype."""
    plain = {t.device.type for t in tensors} == {"cpu"} and len({t.dtype for t in tensors}) == 1
    return plain and wants_gradient(*tensors) and not torch.is_autocast_enabled("cpu")


def _sizes(x: Tensor) -> tuple[int, int, int]:
    """Batch, channels and pixels."""
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]


def affine(pixels: Tensor, half: Half) -> tuple[Tensor, Tensor]:
    """Factor and summand `(width,)` that a norm comes down to for `(pixel, width)`."""
    each = pixels.shape[1] // half.groups
    near = pixels[:STRIP].unflatten(1, (half.groups, each)).mean(dim=(0, 2))  # squares of differences do not cancel
    apart, total = near.repeat_interleave(each), pixels.new_zeros(2, pixels.shape[1], dtype=torch.float64)
    for rows in pixels.split(STRIP):
        moved = rows - apart
        total[0] += moved.sum(dim=0)
        total[1] += moved.square_().sum(dim=0)
    mean, square = (total / len(pixels)).unflatten(1, (half.groups, each)).mean(dim=2)
    inverse = ((square - mean * mean).clamp(min=0) + half.eps).rsqrt()
    mean = mean + near
    scale = half.scale * inverse.repeat_interleave(each).to(pixels.dtype)
    return scale, half.shift - scale * mean.repeat_interleave(each).to(pixels.dtype)
