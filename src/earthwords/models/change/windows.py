"""A network for change over images of any size: overlapping windows whose logits are averaged."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.models.change.network import ChangeNetwork

TILE, STEP = 256, 128
"""Side of a window and pixels between windows: the authors'."""


def change_probability(
    network: ChangeNetwork,
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    *,
    tile: int = TILE,
    step: int = STEP,
) -> NDArray[np.float32]:
    """Probability of change `(row, col)`, 0..1, of two images `(row, col, 3)` on the same pixels.

    The last windows are moved back inside, as the authors have it; a smaller image is reflected to whole patches.
    """
    height, width = before.shape[:2]
    pixels = [_normalised(network, image) for image in (before, after)]
    patch = network.backbone.patch
    rows, cols = max(tile, patch) // patch * patch, max(tile, patch) // patch * patch
    bottom, right = (_missing(side, whole, patch) for side, whole in ((height, rows), (width, cols)))
    first, second = (F.pad(image, (0, right, 0, bottom), mode="replicate") for image in pixels)
    total = first.new_zeros(2, *first.shape[-2:])
    counts = first.new_zeros(first.shape[-2:])
    for top in starts(first.shape[-2], rows, step):
        for left in starts(first.shape[-1], cols, step):
            part = (..., slice(top, top + rows), slice(left, left + cols))
            a, b = network(first[part], second[part])
            total[part] += ((a + b) / 2)[0]
            counts[part[1:]] += 1
    found = (total / counts).softmax(dim=0)[1, :height, :width]
    return found.cpu().numpy()


def starts(side: int, tile: int, step: int) -> list[int]:
    """First pixels of the windows along a side; the last window ends with it."""
    last = max(0, side - tile)
    return [*range(0, last, step), last]


def _missing(side: int, tile: int, patch: int) -> int:
    """Pixels to add: up to a whole patch where one window is enough."""
    return -side % patch if side < tile else 0


def _normalised(network: ChangeNetwork, image: NDArray[np.uint8]) -> Tensor:
    backbone = network.backbone
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(backbone.device).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(v, device=pixels.device)[None, :, None, None] for v in (backbone.mean, backbone.std))
    return (pixels - mean) / std
