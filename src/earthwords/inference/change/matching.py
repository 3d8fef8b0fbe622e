"""Bitemporal latent matching: a mask has changed if what it covers looks otherwise at the other date.

AnyChange (https://arxiv.org/abs/2402.01188) and, with other features, DynamicEarth (https://arxiv.org/abs/2501.12931).
An angle theta is of the **negated** cosine: a mask is kept if its features turned by more than 180 - theta degrees, so
a larger theta keeps more.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.inference.change.mask_means import mask_means, pixel_change
from earthwords.inference.change.otsu import otsu


def undo_norm(embedding: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Features `(dim, row, col)` before scale and shift of the layer norm `(dim,)` that ends SAM's image encoder."""
    return (embedding - bias[:, None, None]) / weight[:, None, None]


def change_scores(masks: DatedMasks, first: Tensor, second: Tensor) -> NDArray[np.float32]:
    """`(mask,)`: negated cosine of the mean features of the two dates `(dim, row, col)` in each mask, -1..1."""
    size = (masks.masks.grid.height, masks.masks.grid.width)
    means = [mask_means(features, masks.masks, size) for features in (first, second)]
    return negated_cosine(*means)


def negated_cosine(first: Tensor, second: Tensor) -> NDArray[np.float32]:
    """Of the rows of `(mask, dim)`, float32; NaN where one of them is."""
    found: NDArray[np.float32] = -F.cosine_similarity(first, second, dim=1).float().cpu().numpy()
    return found


def turned(scores: NDArray[np.float32], theta: float) -> NDArray[np.bool_]:
    """`(mask,)`: what has changed, by an angle in degrees; NaN has not."""
    if not 0 <= theta <= 180:
        raise UsageError(f"The angle of change must be between 0 and 180 degrees, got {theta:g}.")
    kept: NDArray[np.bool_] = scores > np.float32(math.cos(math.radians(theta)))
    return kept


def found_theta(first: Tensor, second: Tensor, size: tuple[int, int], *, bins: int | None = 256) -> float:
    """The angle in degrees that Otsu's threshold on the change of all pixels stands for.

    Args:
        first, second: features of the dates, `(dim, row, col)`.
        size: pixels, `(height, width)`.
        bins: of the histogram: 256 (DynamicEarth), None: as many as pixels (AnyChange).
    """
    return theta_of(pixel_change(first, second, size), bins=bins)


def theta_of(change: NDArray[np.float32], *, bins: int | None = 256) -> float:
    """The same of the change of pixels, negated cosines in any shape; NaN without any."""
    level = otsu(change, bins=bins or max(1, change.size))
    return math.nan if math.isnan(level) else math.degrees(math.acos(min(1.0, max(-1.0, level))))


def strongest(scores: NDArray[np.float32], most: int = 1000) -> NDArray[np.bool_]:
    """`(mask,)`: the `most` that changed most, as AnyChange chooses them: all above the next one, fewer where equal."""
    if len(scores) <= most:
        return np.ones(len(scores), bool)
    next_one = torch.from_numpy(scores).topk(most + 1).values[-1].item()
    kept: NDArray[np.bool_] = scores > np.float32(next_one)
    return kept
