"""Features of two dates that change places, so that each branch of a network sees a mixture of both.

PeftCD (https://arxiv.org/abs/2509.09572, code https://github.com/dyzy41/PeftCD), after ChangerEx
(https://arxiv.org/abs/2209.08290). Nothing is learned, and it acts in training and in use alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

LAYERS = (0, 2)
"""Levels that change places whole, counted from the finest."""
CHANNEL_LEVELS = (2, 3)
"""Levels of which channels change places."""

Levels = Sequence[Tensor]
"""Of one date: `(image, channel, row, col)` each, the finest first."""


def exchange_layers(
    before: Levels, after: Levels, *, levels: Collection[int] = LAYERS
) -> tuple[list[Tensor], list[Tensor]]:
    """Both dates with some levels of the other one."""
    pairs = [(b, a) if i in levels else (a, b) for i, (a, b) in enumerate(zip(before, after, strict=True))]
    return [a for a, _ in pairs], [b for _, b in pairs]


def exchange_channels(
    before: Levels, after: Levels, *, period: int = 2, levels: Collection[int] = CHANNEL_LEVELS
) -> tuple[list[Tensor], list[Tensor]]:
    """Both dates with every `period`-th channel of some levels, from the first on, of the other one."""
    first, second = list(before), list(after)
    for i in levels:
        a, b = first[i], second[i]
        moved = (torch.arange(a.shape[1], device=a.device) % period == 0)[:, None, None]
        first[i], second[i] = torch.where(moved, b, a), torch.where(moved, a, b)
    return first, second
