"""From logits of queries to classes (SegEarth-OV, https://arxiv.org/abs/2410.01768)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from earthwords.models.clip.model import ClipBackbone
from earthwords.segment_preset import SegmentPreset


def class_probabilities(
    logits: Tensor, query_class: Tensor, *, logit_scale: float = 50.0, bias: float | None = None
) -> Tensor:
    """Softmax over all queries, or the sigmoid of each; then the maximum over each class's synonyms.

    Synonyms compete inside the softmax, so the probabilities of the classes need not sum to one.

    Args:
        logits: `(query, row, col)` cosines.
        query_class: `(query,)` int64, the class of each query; classes are 0..max.
        bias: of the sigmoid; None: softmax.

    Returns:
        `(class, row, col)`.
    """
    scaled = logit_scale * logits
    return class_maxima(scaled.softmax(dim=0) if bias is None else (scaled + bias).sigmoid(), query_class)


def scale_and_bias(row: SegmentPreset, backbone: ClipBackbone) -> tuple[float, float | None]:
    """Of a preset's probabilities, for `class_probabilities`."""
    return (backbone.logit_scale, backbone.pair_bias) if row.sigmoid else (row.logit_scale, None)


def class_maxima(probabilities: Tensor, query_class: Tensor) -> Tensor:
    """The maximum over each class's synonyms: `(query, row, col)` to `(class, row, col)`."""
    classes = int(query_class.max()) + 1
    if classes == len(query_class):
        return probabilities
    out = torch.zeros((classes, *probabilities.shape[1:]), dtype=probabilities.dtype, device=probabilities.device)
    index = query_class[:, None, None].expand_as(probabilities)
    return out.scatter_reduce(0, index, probabilities, reduce="amax")


MARGIN = 0.2
"""A pixel is undecided where `(first - second) / (first + second)` of the probabilities of its two best classes is
below this: the first has less than 60 % of what the two share. Other words in the softmax do not change it. Chosen on
validation images (`benchmarks/bench_undecided.py`): such pixels are right less than half of the time."""


def undecided(probabilities: Tensor, margin: float = MARGIN) -> Tensor:
    """Where the two best classes are close.

    Args:
        probabilities: `(class, row, col)`.

    Returns:
        `(row, col)` bool; nowhere for a single class.
    """
    first, best = probabilities.max(dim=0)
    if len(probabilities) < 2:
        return torch.zeros_like(first, dtype=torch.bool)
    second = probabilities.scatter(0, best[None], -1.0).amax(dim=0)
    return first - second < margin * (first + second)


ROUNDING = {"bf16": 0.006}
"""How far a cosine of a pixel and a word is off at most by the rounding of a precision, but for one pixel in ten
thousand, as measured on validation images (`benchmarks/bench_precision.py`)."""


def rounded(
    logits: Tensor, probabilities: Tensor, precision: str, *, logit_scale: float, nothing: float | None
) -> Tensor:
    """Where the rounding of a precision may have decided: between the two best classes, or whether any word fits.

    Args:
        logits: `(query, row, col)` cosines.
        probabilities: `(class, row, col)` of them.
        nothing: see `unfit`, if that is asked.

    Returns:
        `(row, col)` bool.
    """
    off = ROUNDING[precision]
    found = undecided(probabilities, math.tanh(off * logit_scale))
    return found if nothing is None else found | ((logits.amax(dim=0) - nothing).abs() < off)


def unfit(logits: Tensor, nothing: float) -> Tensor:
    """Where no word fits: `(query, row, col)` cosines, all below that of nothing, to `(row, col)` bool."""
    return logits.amax(dim=0) < nothing


def decide(
    probabilities: Tensor, *, threshold: float | Tensor = 0.0, background: int = 0, without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The most probable class of every pixel, `background` below the threshold.

    Args:
        probabilities: `(class, row, col)`.
        threshold: least probability, of all classes or `(class,)` of each.
        without: `(row, col)` bool, pixels that are `background` whatever is most probable.

    Returns:
        labels `(row, col)` int64 and score `(row, col)`, the probability of the most probable class.
    """
    score, labels = probabilities.max(dim=0)
    below = score < (threshold[labels] if isinstance(threshold, Tensor) else threshold)
    return torch.where(below if without is None else below | without, background, labels), score
