"""Weighted sums of overlapping windows.

`total[:, y, x] += weight[y - row, x - col] * logits[:, y - row, x - col]` and `seen[y, x] += weight[...]` over the
window's pixels; the blend is `total / seen`. `mean` is SegEarth-OV's (https://arxiv.org/abs/2410.01768), every window
counts the same; `linear` and `cosine` count a window less towards its borders, where it sees least around it.

Cost: `q * h * w` multiply-adds; memory bound. The arithmetic is elementwise: a result is bitwise the same whatever
the number of threads; the order of the windows is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from earthwords.errors import unknown
from earthwords.kernels._dispatch import path

TOLERANCE = 0.0
"""Between paths on a CPU; Triton may fuse the product and the sum, 1e-6."""


def _linear(position: Tensor) -> Tensor:
    """Triangle, 1 in the middle."""
    return 2 * torch.minimum(position, 1 - position)


def _cosine(position: Tensor) -> Tensor:
    """Hann's window."""
    return torch.sin(torch.pi * position) ** 2


def _tukey(position: Tensor) -> Tensor:
    """Tukey's window: flat in the middle half, cosine ramps over a quarter on either side."""
    distance = torch.minimum(position, 1 - position)
    return torch.where(distance < 0.25, torch.sin(2 * torch.pi * distance) ** 2, 1.0)


_AXES: dict[str, Callable[[Tensor], Tensor] | None] = {
    "mean": None,
    "linear": _linear,
    "cosine": _cosine,
    "tukey": _tukey,
}
MODES = tuple(_AXES)


def window_weights(mode: str, shape: tuple[int, int], *, device: torch.device | str | None = None) -> Tensor | None:
    """How much each pixel of a window counts.

    Args:
        mode: one of `MODES`.
        shape: `(h, w)` of the window.

    Returns:
        `(h, w)` float32, above 0 and at most 1, the product of the same function of the pixel centre's place
        `(i + 0.5) / n` on both axes; None for `mean`.

    Raises:
        UsageError: no such mode.
    """
    if mode not in _AXES:
        raise unknown("blend mode", mode, MODES)
    axis = _AXES[mode]
    if axis is None:
        return None
    rows, cols = (axis((torch.arange(n, dtype=torch.float64) + 0.5) / n) for n in shape)
    return torch.outer(rows, cols).float().to(device)


def reference(total: Tensor, seen: Tensor, logits: Tensor, weight: Tensor | None, row: int, col: int) -> None:
    """The formula as it is written; see `add_window`."""
    height, width = logits.shape[-2:]
    part = (slice(row, row + height), slice(col, col + width))
    total[:, *part] = total[:, *part] + (logits if weight is None else logits * weight)
    seen[part] = seen[part] + (1 if weight is None else weight)


def add_window(total: Tensor, seen: Tensor, logits: Tensor, weight: Tensor | None, row: int, col: int) -> None:
    """Add a window at `(row, col)` to the sums, in place.

    Args:
        total: `(q, H, W)`, sum of weighted logits.
        seen: `(H, W)`, sum of weights.
        logits: `(q, h, w)`.
        weight: `(h, w)`, or None for 1 everywhere.
    """
    path(PATHS, total, seen, logits)(total, seen, logits, weight, row, col)


def _in_place(total: Tensor, seen: Tensor, logits: Tensor, weight: Tensor | None, row: int, col: int) -> Tensor:
    """One query at a time, so that the weighted logits stay in the cache."""
    height, width = logits.shape[-2:]
    sums, count = (t[..., row : row + height, col : col + width] for t in (total, seen))
    count += 1 if weight is None else weight
    for one, values in zip(sums, logits, strict=True):
        one += values if weight is None else values * weight
    return total


def _triton(total: Tensor, seen: Tensor, logits: Tensor, weight: Tensor | None, row: int, col: int) -> Tensor:
    from earthwords.kernels._triton import add_window

    add_window(total, seen, logits, weight, row, col)
    return total


PATHS = {"triton": _triton, "torch": _in_place}
