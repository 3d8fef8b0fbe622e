"""DynamicEarth (https://arxiv.org/abs/2501.12931): change of what words name, from masks, features and a segmenter.

M-C-I: masks of both dates, compare what they cover, identify what is left. I-M-C: identify instances at each date,
take those that the other date lacks, compare. Unlike the authors' code (@c9ffd90) the union of masks is a union at any
number of masks: theirs adds up in 8 bits, so that a pixel that 256 masks cover is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.inference.change.existence import only_once
from earthwords.inference.change.identify import identified, mask_classes, mean_probabilities
from earthwords.inference.change.matching import change_scores, turned
from earthwords.kernels.masks.nms import nms as suppress
from earthwords.mask_set import MaskSet

THETA = 145.0
"""Degrees, of most of the authors' scripts."""
AREA, NMS, EXISTENCE, BOX_SCORE = 0.8, 0.7, 0.01, 0.1


def proposals(before: MaskSet, after: MaskSet, *, area: float = AREA, nms: float = NMS) -> DatedMasks:
    """Masks of both dates, those of the first date first: none that covers nearly all, of equal ones the surest.

    Args:
        before, after: of the same grid, each with the predicted IoU as score.
        area: share of the grid that a mask must stay below.
        nms: IoU of boxes above which the less sure mask goes, within and across dates.
    """
    masks = DatedMasks.join(before, after).smaller_than(area)
    return masks.take(np.sort(suppress(masks.corners, masks.masks.scores, nms)))


def compare(
    masks: DatedMasks, before: Tensor, after: Tensor, *, theta: float = THETA
) -> tuple[DatedMasks, NDArray[np.float32]]:
    """Masks whose features `(dim, row, col)` turned, and the negated cosines of these."""
    scores = change_scores(masks, before, after)
    kept = turned(scores, theta)
    return masks.take(kept), scores[kept]


@dataclass(frozen=True, kw_only=True)
class NamedMasks:
    """What masks show at the two dates."""

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    kept: NDArray[np.bool_]
    """`(mask,)`: what became something else, by the rule that was asked for."""
    scores: NDArray[np.float32]
    """`(mask,)`: probability of the class at the mask's own date."""


def identify(
    masks: DatedMasks,
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    *,
    threshold: float = 0.0,
    instances: bool = True,
) -> NamedMasks:
    """What masks show, by the probabilities `(class, row, col)` of the two dates; class 0 was not asked for."""
    (first, one), (second, other) = (
        mask_classes(mean_probabilities(p, masks.masks), threshold=threshold) for p in (before, after)
    )
    kept = identified(masks, first, second, instances=instances)
    return NamedMasks(before=first, after=second, kept=kept, scores=np.where(masks.second, other, one))


def mask_compare_identify(
    masks: DatedMasks,
    features: tuple[Tensor, Tensor],
    probabilities: tuple[NDArray[np.float32], NDArray[np.float32]],
    *,
    theta: float = THETA,
    threshold: float = 0.0,
    instances: bool = True,
) -> tuple[DatedMasks, NamedMasks, NDArray[np.float32]]:
    """M-C-I from proposals to the masks that changed, what they show, and their negated cosines."""
    turned_masks, scores = compare(masks, *features, theta=theta)
    named = identify(turned_masks, *probabilities, threshold=threshold, instances=instances)
    kept = named.kept
    found = NamedMasks(before=named.before[kept], after=named.after[kept], kept=kept[kept], scores=named.scores[kept])
    return turned_masks.take(kept), found, scores[kept]


def identify_mask_compare(
    masks: DatedMasks, features: tuple[Tensor, Tensor], *, theta: float = THETA, existence: float = EXISTENCE
) -> tuple[DatedMasks, NDArray[np.float32]]:
    """I-M-C from the instances of both dates to those that changed, and their negated cosines."""
    return compare(only_once(masks, most=existence), *features, theta=theta)


def sure_boxes(
    corners: ArrayLike, scores: NDArray[np.float32], *, least: float = BOX_SCORE, nms: float = NMS
) -> NDArray[np.int64]:
    """Indices of detected boxes `(box, 4)` with a score of at least `least`, none covering another, surest first."""
    sure = np.flatnonzero(scores >= np.float32(least))
    return sure[suppress(np.asarray(corners)[sure], scores[sure], nms)]
