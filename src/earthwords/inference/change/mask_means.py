"""Means of dense features inside masks, and cosines at every pixel, without features at the resolution of the pixels.

Features of a grid of cells count at a pixel as bilinear interpolation gives them, with the outermost cells at the
outermost pixels (`align_corners`), as AnyChange and DynamicEarth have it. Their mean in a mask is a weighted mean of
the cells, whose weights are the mask brought down to the cells by the interpolation's transpose.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

STRIP = 2**24
"""Numbers of interpolated features of one map that are in memory at once, at most (a row at least)."""

Placed = Iterable[tuple[int, int, NDArray[np.bool_]]]
"""First row, first column and pixels of each mask, as a `MaskSet` gives them."""


def mask_means(features: Tensor, masks: Placed, size: tuple[int, int]) -> Tensor:
    """Mean of the interpolated features in each mask.

    Args:
        features: `(dim, row, col)` of an image.
        masks: in pixels of the image.
        size: pixels of the image, `(height, width)`.

    Returns:
        `(mask, dim)` float32; NaN of a mask without a pixel.
    """
    rows, cols = (_weights(n, cells) for n, cells in zip(size, features.shape[1:], strict=True))
    found = []
    for top, left, mask in masks:
        height, width = mask.shape
        inside = torch.from_numpy(np.ascontiguousarray(mask)).to(torch.float64)
        share = rows[top : top + height].T @ inside @ cols[left : left + width] / inside.sum()
        found.append(share.to(features))
    if not found:
        return features.new_zeros((0, len(features)))
    return torch.stack(found).flatten(1) @ features.flatten(1).T


def _weights(pixels: int, cells: int) -> Tensor:
    """`(pixel, cell)`: what each cell counts at each pixel."""
    low, share = _places(pixels, cells)
    weights = torch.zeros((pixels, cells), dtype=torch.float64)
    index = torch.arange(pixels)
    weights[index, low] += 1 - share.double()
    weights[index, (low + 1).clamp(max=cells - 1)] += share.double()
    return weights


def _places(pixels: int, cells: int) -> tuple[Tensor, Tensor]:
    """The cell before each pixel and the share of the next one, in the precision that PyTorch interpolates in."""
    step = torch.tensor((cells - 1) / (pixels - 1) if pixels > 1 else 0.0, dtype=torch.float32)
    places = torch.arange(pixels, dtype=torch.float32) * step
    low = places.long().clamp(max=cells - 1)
    return low, places - low


def strips(size: tuple[int, int], *maps: Tensor) -> Iterator[tuple[slice, list[Tensor]]]:
    """Maps `(dim, row, col)` interpolated to `size`, some rows `(dim, n, width)` at a time."""
    step = max(1, STRIP // (size[1] * max(len(m) for m in maps)))
    if step >= size[0]:  # the last bits of PyTorch's own, which a histogram with a bin for every pixel can tell
        yield slice(0, size[0]), [F.interpolate(m[None], size, mode="bilinear", align_corners=True)[0] for m in maps]
        return
    for first in range(0, size[0], step):
        rows = slice(first, min(first + step, size[0]))
        yield rows, [_rows(m, size, rows) for m in maps]


def _rows(cells: Tensor, size: tuple[int, int], rows: slice) -> Tensor:
    low, share = (values[rows].to(cells.device) for values in _places(size[0], cells.shape[1]))
    left, across = (values.to(cells.device) for values in _places(size[1], cells.shape[2]))
    right = (left + 1).clamp(max=cells.shape[2] - 1)
    upper, lower = cells[:, low], cells[:, (low + 1).clamp(max=cells.shape[1] - 1)]
    first = upper[..., left] * (1 - across) + upper[..., right] * across
    second = lower[..., left] * (1 - across) + lower[..., right] * across
    return first * (1 - share[:, None]) + second * share[:, None]


def pixel_change(first: Tensor, second: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """`(row, col)`: negated cosine of two maps of features `(dim, row, col)` at every pixel; larger is more change."""
    out = np.empty(size, np.float32)
    for rows, (one, other) in strips(size, first, second):
        out[rows] = -F.cosine_similarity(one, other, dim=0).cpu().numpy()
    return out


def alike(features: Tensor, vector: Tensor, size: tuple[int, int], *, least: float) -> NDArray[Any]:
    """`(row, col)` bool: pixels whose cosine with a vector `(dim,)` is above `least`."""
    out = np.empty(size, bool)
    for rows, (strip,) in strips(size, features):
        out[rows] = (F.cosine_similarity(strip, vector[:, None, None], dim=0) > least).cpu().numpy()
    return out
