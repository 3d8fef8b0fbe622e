"""Several labels an image: how well the words of each label rank the images that have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError


def average_precision(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> float:
    """Precision, averaged over the steps of recall; images of equal score come together. 0..1, NaN without a true one.

    Args:
        scores: `(image,)`.
        truth: `(image,)`.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[last]
    if not hits[-1]:
        return float("nan")
    return float((np.diff(hits, prepend=0) / hits[-1] * hits / (last + 1)).sum())


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Figures of a ranking, percent."""

    precision: NDArray[np.float64]
    """`(label,)` average precision; NaN of a label that no image has."""
    share: NDArray[np.float64]
    """`(label,)` of the images that have it: the average precision of guessing."""

    def as_json(self) -> dict[str, Any]:
        """Plain values; means over the labels that some image has."""
        there = ~np.isnan(self.precision)
        return {
            "mAP": float(self.precision[there].mean()),
            "guessed_mAP": float(self.share[there].mean()),
            "per_class": [None if np.isnan(value) else float(value) for value in self.precision],
        }


def rank(scores: NDArray[np.floating], truth: NDArray[np.bool_]) -> Ranked:
    """Figures of scores `(image, label)` against the labels that images have, of the same shape.

    Raises:
        UsageError: no image has a label.
    """
    if not truth.any():
        raise UsageError("None of these images has a label.")
    columns = (average_precision(s, t) for s, t in zip(scores.T, truth.T, strict=True))
    return Ranked(precision=100 * np.array(list(columns)), share=100 * truth.mean(axis=0))
