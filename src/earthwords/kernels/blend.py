"""Overlapping windows added up, each pixel of a window with a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from earthwords.errors import unknown

MODES = ("mean", "linear", "cosine")


def window_weights(mode: str, shape: tuple[int, int], *, device: str | torch.device | None = None) -> Tensor | None:
    """Weight of every pixel of a window `(h, w)`; None: all the same."""
    if mode not in MODES:
        raise unknown("blend mode", mode, MODES)
    if mode == "mean":
        return None
    rows, cols = (_profile(mode, length) for length in shape)
    return (rows[:, None] * cols).to(torch.float32).to(device)


def _profile(mode: str, length: int) -> Tensor:
    place = torch.arange(length, dtype=torch.float64) + 0.5
    if mode == "linear":
        return torch.minimum(place, length - place) / (length / 2)
    return torch.sin(torch.pi * place / length) ** 2


def add_window(total: Tensor, seen: Tensor, logits: Tensor, weight: Tensor | None, row: int, col: int) -> None:
    """Add a window in place."""
    rows, cols = slice(row, row + logits.shape[-2]), slice(col, col + logits.shape[-1])
    total[:, rows, cols] += logits if weight is None else logits * weight
    seen[rows, cols] += 1 if weight is None else weight
