"""Losses between pictures and words."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(image: Tensor, text: Tensor, scale: Tensor, *, same: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE (https://arxiv.org/abs/2103.00020, eq. in Fig. 3).

    Args:
        image, text: `(pair, dim)` unit vectors; row i of one belongs to row i of the other.
        scale: factor of the cosines, the inverse temperature.
        same: `(pair, pair)` bool, True where text j also describes image i (for instance the same
            sentence twice in a batch); such texts share the target. Identity by default.
    """
    logits = scale * image @ text.T
    target = torch.eye(len(image), device=image.device) if same is None else same.float()
    by_row = target / target.sum(dim=1, keepdim=True)
    by_col = target / target.sum(dim=0, keepdim=True)
    rows = -(by_row * logits.log_softmax(dim=1)).sum(dim=1).mean()
    cols = -(by_col * logits.log_softmax(dim=0)).sum(dim=0).mean()
    return (rows + cols) / 2


def region_text(
    features: Tensor, words: Tensor, target: Tensor, scale: Tensor, *, weight: Tensor, rest: int | None = None
) -> Tensor:
    """Cross-entropy between the pixels of a region and the words of its class, balanced over classes.

    The cosines of the tokens are interpolated bilinearly to the resolution of the target, as at inference,
    so the loss sees sub-token borders. A pixel of class `rest` is only known to be none of the others:
    its loss is small when no other word fits well.

    Args:
        features: `(batch, dim, h, w)`.
        words: `(class, dim)` unit vectors; the row of class `rest` is not used.
        target: `(batch, H, W)` int64 class of every pixel, 255 to ignore.
        scale: factor of the cosines.
        weight: `(class,)` weight of a pixel of each class.
        rest: the class "none of the others", if there is one.

    Returns:
        The mean over pixels that count; 0 when there is none.
    """
    unit = F.normalize(features, dim=1)
    logits = scale * torch.einsum("bdhw,cd->bchw", unit, words)
    logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
    if rest is not None:
        logits = torch.cat([logits[:, :rest], torch.zeros_like(logits[:, :1]), logits[:, rest + 1 :]], dim=1)
    loss = F.cross_entropy(logits, target, weight=weight, ignore_index=255, reduction="sum")
    seen = target[target != 255]
    return loss / weight[seen].sum().clamp(min=1e-6)
