"""Losses between pictures and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CHUNK = 1024
"""Rows of the matrix of all pairs that exist at once."""


def info_nce(image: Tensor, text: Tensor, scale: Tensor, *, kind: Tensor | None = None, chunk: int = CHUNK) -> Tensor:
    """Symmetric InfoNCE (https://arxiv.org/abs/2103.00020, eq. in Fig. 3).

    The matrix of pairs is computed `chunk` rows at a time, forwards and backwards: memory grows with the number of
    pairs, not with its square, and values and gradients are exact.

    Args:
        image, text: `(pair, dim)` unit vectors; row i of one belongs to row i of the other.
        scale: factor of the cosines, the inverse temperature.
        kind: `(pair,)` int64; texts of one kind describe each other's images too (for instance the same sentence twice
            in a batch), so that they share the target. All different by default.
    """
    kind = torch.arange(len(image), device=image.device) if kind is None else kind
    loss: Tensor = _InfoNce.apply(image, text, scale, kind, chunk)
    return loss


def _plain(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Without autocast: sums over thousands of pairs need float32."""

    @wraps(forward)
    def run(ctx: Any, image: Tensor, *rest: Any) -> Tensor:
        if image.is_meta:  # knows no autocast
            return forward(ctx, image, *rest)
        with torch.autocast(image.device.type, enabled=False):
            return forward(ctx, image, *rest)

    return run


class _InfoNce(torch.autograd.Function):
    """Softmaxes over rows and columns of `scale * image @ text.T`, chunk by chunk."""

    @staticmethod
    @_plain
    def forward(ctx: Any, image: Tensor, text: Tensor, scale: Tensor, kind: Tensor, chunk: int) -> Tensor:
        count = len(image)
        share = _share(kind)
        rows, hits = [], image.new_zeros(())
        cols = image.new_full((count,), -torch.inf)
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            logits = scale * image[part] @ text.T
            rows.append(logits.logsumexp(dim=1))
            cols = torch.logaddexp(cols, logits.logsumexp(dim=0))
            hits = hits + (logits * (kind[part, None] == kind) * share[part, None]).sum()
        ctx.save_for_backward(image, text, scale, kind, share, torch.cat(rows), cols)
        ctx.chunk = chunk
        return (torch.cat(rows).sum() + cols.sum() - 2 * hits) / (2 * count)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        image, text, scale, kind, share, rows, cols = ctx.saved_tensors
        count, by_image, by_text, by_scale = len(image), [], torch.zeros_like(text), torch.zeros_like(scale)
        for start in range(0, count, ctx.chunk):
            part = slice(start, start + ctx.chunk)
            cosines = image[part] @ text.T
            logits = scale * cosines
            slope = (logits - rows[part, None]).exp() + (logits - cols).exp()
            slope = (slope - 2 * share[part, None] * (kind[part, None] == kind)) * (gradient / (2 * count))
            by_scale = by_scale + (slope * cosines).sum()
            by_image.append(scale * slope @ text)
            by_text += scale * slope.T @ image[part]
        return torch.cat(by_image), by_text, by_scale.reshape(scale.shape), None, None


def _share(kind: Tensor) -> Tensor:
    """One over how many have the same kind, `(pair,)`."""
    _, place, count = kind.unique(return_inverse=True, return_counts=True)
    return 1 / count[place]


def siglip(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, *, kind: Tensor | None = None, chunk: int = CHUNK
) -> Tensor:
    """Pairwise sigmoid loss (https://arxiv.org/abs/2303.15343), summed over texts, mean over images.

    Args:
        bias: added to `scale` times the cosines.
        kind: as for `info_nce`; texts of one kind are right for each other's images.
    """
    kind = torch.arange(len(image), device=image.device) if kind is None else kind
    total = image.new_zeros(())
    for start in range(0, len(image), chunk):
        part = slice(start, start + chunk)
        sign = (kind[part, None] == kind).to(image) * 2 - 1
        total = total - F.logsigmoid(sign * (scale * image[part] @ text.T + bias)).sum()
    return total / len(image)


def region_text(
    features: Tensor,
    words: Tensor,
    target: Tensor,
    scale: Tensor,
    *,
    weight: Tensor,
    rest: int | None = None,
    left_out: Sequence[int] = (),
) -> Tensor:
    """Cross-entropy between the pixels of a region and the words of its class, balanced over classes.

    The cosines of the tokens are interpolated bilinearly to the resolution of the target, as at inference,
    so the loss sees sub-token borders. A pixel of class `rest` is only known to be none of the others:
    its loss is small when no other word fits well, that is, when all cosines are below 0. Beside a class `rest`,
    classes of weight 0, which no mask has, are rivals: what the pixels of a named class surely do not show. They say
    nothing of the pixels of `rest`, which may show them.

    Args:
        features: `(batch, dim, h, w)`.
        words: `(class, dim)` unit vectors; the row of class `rest` is not used.
        target: `(batch, H, W)` int64 class of every pixel, 255 to ignore.
        scale: factor of the cosines.
        weight: `(class,)` weight of a pixel of each class.
        rest: the class "none of the others", if there is one.
        left_out: classes whose words are not asked for this time: what shows them is none of the others too.

    Returns:
        The mean over pixels that count; 0 when there is none.
    """
    unit = F.normalize(features, dim=1)
    logits = scale * torch.einsum("bdhw,cd->bchw", unit, words)
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
    if rest is not None and (rivals := (weight == 0).nonzero()[:, 0].tolist()):
        logits[:, rivals] = logits[:, rivals].masked_fill((target == rest)[:, None], -1e4)
    if rest is not None or left_out:
        out = sorted({*left_out, *(() if rest is None else (rest,))})
        logits, target, weight = _with_nothing(logits, target, weight, out)
    loss = F.cross_entropy(logits, target, weight=weight, ignore_index=255, reduction="sum")
    counted = target[target != 255]
    return loss / weight[counted].sum().clamp(min=1e-6)


def _with_nothing(logits: Tensor, target: Tensor, weight: Tensor, out: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Classes without words, joined to one last class whose logit is 0; weights as theirs on average."""
    kept = [i for i in range(len(weight)) if i not in out]
    number = torch.full((256,), 255, dtype=torch.int64, device=target.device)
    number[kept] = torch.arange(len(kept), device=target.device)
    number[out] = len(kept)
    share = torch.bincount(target[target != 255], minlength=len(weight)).to(weight)[out]
    common = (weight[out] * share).sum() / share.sum().clamp(min=1)
    logits = torch.cat([logits[:, kept], torch.zeros_like(logits[:, :1])], dim=1)
    return logits, number[target], torch.cat([weight[kept], common[None]])
