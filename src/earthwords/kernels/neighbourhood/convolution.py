"""Convolution of what a norm and SiLU make of a map: `conv(silu(norm(x)))`, borders mirrored.

Once the norm's means and variances are known, bands of rows go through all three while they are in the processor's
cache, where whole maps would be written and read, and padded, between them.

Cost: `pixels * side^2 * in * out` multiply-adds. `reference` holds four maps besides `x`, `in_bands` one, the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.kernels.linear import linear
from earthwords.kernels.residual import Half, affine

TOLERANCE = 2e-5

BAND = 1 << 20
"""Numbers of a band, about."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A norm over groups of channels and pixels, and the convolution behind SiLU."""

    groups: int
    scale: Tensor
    """`(in,)`, of the norm."""
    shift: Tensor
    """`(in,)`, of the norm."""
    weight: Tensor
    """`(out, in, side, side)`, a side of 1 or 3."""
    bias: Tensor
    """`(out,)`."""
    eps: float = 1e-5


def reference(x: Tensor, layer: Layer) -> Tensor:
    """`(batch, in, h, w)` to `(batch, out, h, w)`; differentiable."""
    active = F.silu(F.group_norm(x, layer.groups, layer.scale, layer.shift, layer.eps))
    return mirrored(active, layer.weight, layer.bias)


def mirrored(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution of `(batch, in, h, w)`, beyond whose borders lies its mirror image."""
    return F.conv2d(F.pad(x, [weight.shape[-1] // 2] * 4, mode="reflect"), weight, bias)


def in_bands(x: Tensor, layer: Layer) -> Tensor:
    """The same of one image with channels last, `(h, w, in)` to `(h, w, out)`; not differentiable, float32 on a CPU."""
    norm = Half(groups=layer.groups, scale=layer.scale, shift=layer.shift, mix=layer.weight, eps=layer.eps)
    scale, shift = affine(x.flatten(0, 1), norm)
    height, width, channels = x.shape
    step = max(1, BAND // (width * channels))
    out = x.new_empty(height, width, len(layer.bias))
    weight = layer.weight.contiguous(memory_format=torch.channels_last)
    for top in range(0, height, step):
        rows = min(step, height - top)
        if layer.weight.shape[-1] == 1:
            active = F.silu(torch.addcmul(shift, x[top : top + rows], scale), inplace=True)
            out[top : top + rows] = linear(active, layer.weight.flatten(1), layer.bias)
            continue
        band = x.new_empty(rows + 2, width + 2, channels)
        first, stop = max(0, top - 1), min(height, top + rows + 1)
        inner = band[first - top + 1 : stop - top + 1, 1:-1]
        F.silu(torch.addcmul(shift, x[first:stop], scale, out=inner), inplace=True)
        if top == 0:
            band[0] = band[2]
        if top + rows == height:
            band[-1] = band[-3]
        band[:, 0], band[:, -1] = band[:, 2], band[:, -3]
        out[top : top + rows] = F.conv2d(band.permute(2, 0, 1)[None], weight, layer.bias)[0].permute(1, 2, 0)
    return out
