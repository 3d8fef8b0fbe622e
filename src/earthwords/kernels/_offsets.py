"""The similarity of pixels to their neighbours, one offset at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def by_offset(keys: Tensor, temperature: Tensor, radius: int) -> Tensor:
    """One offset at a time, in plain PyTorch."""
    height, width = keys.shape[-2:]
    side = 2 * radius + 1
    padded = F.pad(keys, [radius] * 4, mode="reflect")
    logits = [
        torch.einsum("bdhw,bdhw->bhw", padded[:, :, row : row + height, col : col + width], keys)
        for row in range(side)
        for col in range(side)
    ]
    return (temperature * torch.stack(logits, dim=1)).softmax(dim=1)
