"""How far features are from a target: direction, and distance on the target's own scale (AnyUp's loss).

At every position `1 - cos(f, t) + mean((f - t)^2) / (max(t) - min(t) + 1e-6)^2` over the channels of features `f` and
target `t`; the mean of all positions (https://arxiv.org/abs/2510.12764).

Cost: `reference` keeps several arrays as large as the features for its gradient. `fused` keeps two numbers a position,
because the gradient at a position is a combination of `f` and `t`, and goes through strips that fit the cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

TOLERANCE = 1e-5

STRIP = 1 << 18
"""Numbers of features that go through together: a megabyte."""


def reference(found: Tensor, target: Tensor) -> Tensor:
    """The formula; see `scaled_difference`."""
    span = target.amax(dim=1, keepdim=True) - target.amin(dim=1, keepdim=True) + 1e-6
    cosine = F.cosine_similarity(found, target, dim=1)
    return (1 - cosine).mean() + ((found - target) / span).square().mean()


def scaled_difference(found: Tensor, target: Tensor) -> Tensor:
    """A scalar, float32 for half precision.

    Args:
        found: `(batch, dim, h, w)`. Differentiable, once.
        target: the same shape; differentiable too, but then `reference` computes.
    """
    found, target = (x if x.dtype == torch.float64 else x.float() for x in (found, target))
    return reference(found, target) if target.requires_grad else fused(found, target)


def fused(found: Tensor, target: Tensor) -> Tensor:
    """Not differentiable in `target`."""
    out: Tensor = _Fused.apply(*(x.permute(0, 2, 3, 1).flatten(0, 2) for x in (found, target)))
    return out


class _Fused(torch.autograd.Function):
    """On features `(position, dim)`."""

    @staticmethod
    def forward(ctx: Any, found: Tensor, target: Tensor) -> Tensor:
        count, dim = found.shape
        own, other = found.new_empty(2, count, 1)
        total = found.new_zeros(())
        rows = max(1, STRIP // dim) if found.device.type == "cpu" else count
        for first in range(0, count, rows):
            part = slice(first, first + rows)
            f, t = found[part], target[part]
            scale = (t.amax(1) - t.amin(1) + 1e-6).square().mul(dim).reciprocal()
            length, wanted = (x.norm(dim=1).clamp(min=1e-8) for x in (f, t))
            both = (length * wanted).reciprocal()
            cosine = (f * t).sum(dim=1) * both
            total += (1 - cosine + (f - t).square_().sum(dim=1) * scale).sum()
            own[part, 0] = cosine / length.square() + 2 * scale
            other[part, 0] = -both - 2 * scale
        ctx.save_for_backward(found, target, own / count, other / count)
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        found, target, own, other = ctx.saved_tensors
        return (found * (own * gradient)).addcmul_(target, other * gradient), None
