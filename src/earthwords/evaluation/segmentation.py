"""Intersection over union, accumulated over a whole set as mmsegmentation's `IoUMetric` does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError


class Confusion:
    """Pixel counts of truth against prediction."""

    def __init__(self, classes: int, *, ignore: int = 255) -> None:
        self.ignore = ignore
        self.counts = np.zeros((classes, classes), dtype=np.int64)
        """`(truth, prediction)`."""
        self.missed = np.zeros(classes, dtype=np.int64)
        """`(truth,)`: pixels predicted as no class."""

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count the pixels of two `(row, col)` label maps; truth `ignore` does not count.

        A prediction outside the classes (nodata) counts as missing its true class.

        Raises:
            UsageError: a true label is neither a class nor `ignore`.
        """
        size = len(self.counts)
        seen = truth != self.ignore
        actual, predicted = truth[seen].astype(np.int64), prediction[seen].astype(np.int64)
        if actual.size and not 0 <= actual.min() <= actual.max() < size:
            raise UsageError(f"True labels must be 0..{size - 1} or {self.ignore}: {actual.min()}..{actual.max()}.")
        predicted = np.where((predicted < 0) | (predicted >= size), size, predicted)
        pairs = actual * (size + 1) + predicted
        counts = np.bincount(pairs, minlength=size * (size + 1)).reshape(size, size + 1)
        self.counts += counts[:, :size]
        self.missed += counts[:, size]

    def scores(self) -> Scores:
        """IoU and accuracy so far."""
        hit = np.diag(self.counts).astype(float)
        truth = self.counts.sum(axis=1) + self.missed
        union = truth + self.counts.sum(axis=0) - hit
        with np.errstate(invalid="ignore", divide="ignore"):
            return Scores(iou=hit / union, accuracy=float(hit.sum() / truth.sum()))


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of a confusion."""

    iou: NDArray[np.float64]
    """`(class,)`, 0..1; NaN for a class neither present nor predicted."""
    accuracy: float
    """Share of pixels that are right, 0..1."""

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that are present or predicted."""
        return float(np.nanmean(self.iou))
