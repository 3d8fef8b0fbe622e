"""Segment Any Change (https://arxiv.org/abs/2402.01188): SAM's masks of two dates that changed in SAM's own features.

Differs from the authors' code (torchange @45434c7) in nothing that is kept between calls: they return masks of an
earlier pair when a model is used twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.inference.change.mask_means import alike, mask_means
from earthwords.inference.change.matching import change_scores, strongest, turned
from earthwords.kernels.masks.nms import nms as suppress
from earthwords.mask_set import MaskSet

THETA = 145.0
"""Degrees, as the authors' page has it; their code's default is 155."""
AREA, NMS, MOST = 0.8, 0.7, 1000


@dataclass(frozen=True, kw_only=True)
class ChangedMasks:
    """Masks that have changed."""

    masks: DatedMasks
    index: NDArray[np.int64]
    """`(mask,)`: of each among the masks that were asked about."""
    scores: NDArray[np.float32]
    """`(mask,)`: negated cosine of what it covers at the two dates, -1..1."""


def any_change(
    masks: DatedMasks,
    before: Tensor,
    after: Tensor,
    *,
    theta: float = THETA,
    both: bool = True,
    nms: float = NMS,
    most: int = MOST,
) -> ChangedMasks:
    """The masks that changed, the surest mask first.

    Args:
        masks: proposals of both dates, each with the predicted IoU as score, without those that are too large
            (`DatedMasks.smaller_than(AREA)`).
        before, after: features `(dim, row, col)` of the whole grid, without the scale and shift of the encoder's last
            norm (`matching.undo_norm`).
        theta: degrees; larger keeps more.
        both: masks of both dates; else those of the second alone.
        nms: IoU of boxes above which the less sure mask is dropped, over both dates.
        most: masks that stay, at most.
    """
    own = np.arange(len(masks)) if both else np.flatnonzero(masks.second)
    scores = change_scores(masks.take(own), before, after)
    kept = turned(scores, theta)
    own, scores = own[kept], scores[kept]
    chosen = masks.take(own)
    order = suppress(chosen.corners, chosen.masks.scores, nms)
    order = order[strongest(scores[order], most)]
    return ChangedMasks(masks=chosen.take(order), index=own[order], scores=scores[order])


@dataclass(frozen=True, kw_only=True)
class ClickQuery:
    """What a click points at."""

    vector: Tensor
    """`(dim,)`: mean of the encoder's own features in its mask."""
    area: float
    """Pixels."""


def query_of(mask: MaskSet, features: Tensor) -> ClickQuery:
    """Of a mask alone in its set, by the features `(dim, row, col)` of its date as the encoder gives them."""
    size = (mask.grid.height, mask.grid.width)
    return ClickQuery(vector=mask_means(features, mask, size)[0], area=float(mask.areas[0]))


def mean_query(queries: Sequence[ClickQuery]) -> ClickQuery:
    """Of several clicks: the mean of vectors, whatever their lengths, and of areas."""
    if not queries:
        raise UsageError("A query needs a click at least.")
    return ClickQuery(
        vector=torch.stack([q.vector for q in queries]).mean(dim=0), area=float(np.mean([q.area for q in queries]))
    )


def resembling(
    masks: DatedMasks, query: ClickQuery, before: Tensor, after: Tensor, *, degrees: float = 60.0
) -> NDArray[np.bool_]:
    """`(mask,)`: proposals of 1/4 to 4 times the query's area, most of whose pixels look like it at their date.

    Args:
        masks: proposals of both dates.
        query: what was clicked.
        before, after: features `(dim, row, col)` as the encoder gives them.
        degrees: largest angle between a pixel's feature and the query's.
    """
    grid, least = masks.masks.grid, math.cos(math.radians(degrees))
    maps = [alike(f, query.vector, (grid.height, grid.width), least=least) for f in (before, after)]
    kept = np.zeros(len(masks), bool)
    for i, (top, left, mask) in enumerate(masks.masks):
        there = maps[int(masks.second[i])][top : top + mask.shape[0], left : left + mask.shape[1]]
        area = int(mask.sum())
        kept[i] = query.area / 4 < area < 4 * query.area and int((mask & there).sum()) > area / 2
    return kept
