"""Scores of segmentation from confusion matrices that add up over images, as mmsegmentation's `IoUMetric` has them.

Rules of `IoUMetric` (https://github.com/open-mmlab/mmsegmentation/blob/main/mmseg/evaluation/metrics/iou_metric.py):
areas are summed over the whole set before anything is divided; a class that neither the truth nor the prediction has is
NaN, and means leave NaN out. `boundary_iou.py` has boundary IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError

IGNORED = 255
"""True label of pixels that do not count."""

Figures = NDArray[np.float64]


class Confusion:
    """Pixel counts of truth against prediction."""

    def __init__(self, classes: int, *, ignore: int = IGNORED) -> None:
        self.ignore = ignore
        self.counts = np.zeros((classes, classes), dtype=np.int64)
        """`(truth, prediction)`."""
        self.missed = np.zeros(classes, dtype=np.int64)
        """`(truth,)`: pixels predicted as no class."""

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count the pixels of two `(row, col)` label maps; truth `ignore` does not count.

        A prediction outside the classes (nodata) counts as missing its true class.

        Raises:
            UsageError: a true label is neither a class nor `ignore`, or the shapes differ.
        """
        size = len(self.counts)
        actual, predicted = counted_pixels(truth, prediction, classes=size, ignore=self.ignore)
        predicted = np.where((predicted < 0) | (predicted >= size), size, predicted)
        pairs = actual * (size + 1) + predicted
        counts = np.bincount(pairs, minlength=size * (size + 1)).reshape(size, size + 1)
        self.counts += counts[:, :size]
        self.missed += counts[:, size]

    def merge(self, other: Confusion) -> Confusion:
        """Add the counts of other images of the same classes; returns itself.

        Raises:
            UsageError: the other one has other classes.
        """
        if other.counts.shape != self.counts.shape:
            raise UsageError(f"Cannot add up confusions of {len(self.counts)} and {len(other.counts)} classes.")
        self.counts += other.counts
        self.missed += other.missed
        return self

    def scores(self, *, absent: float | None = None) -> Scores:
        """The figures so far.

        Args:
            absent: what to put for a class without a figure (mmsegmentation's `nan_to_num`); None: NaN, which means
                leave out.
        """
        return scores_of(np.column_stack([self.counts, self.missed]), absent=absent)


class ThresholdConfusion:
    """The confusions of many probability thresholds in one pass over the images.

    A pixel whose best class has a probability below the threshold goes to the background class (SegEarth-OV's
    `prob_thd` and `bg_idx`, https://arxiv.org/abs/2410.01768).
    """

    def __init__(
        self, classes: int, thresholds: Sequence[float], *, background: int | None, ignore: int = IGNORED
    ) -> None:
        """Begin with no pixel.

        Args:
            thresholds: 0..1, in any order.
            background: class of the pixels below; None: they are predicted as no class.

        Raises:
            UsageError: no thresholds, one that is no number, or a background that is no class.
        """
        self.thresholds = tuple(float(t) for t in thresholds)
        if not self.thresholds or not all(np.isfinite(self.thresholds)):
            raise UsageError(f"Thresholds are finite numbers, at least one: {list(thresholds)}.")
        if background is not None and not 0 <= background < classes:
            raise UsageError(f"Background {background} is not a class; there are {classes}, counted from 0.")
        self.background, self.ignore = background, ignore
        self._sorted = np.unique(self.thresholds)
        self.counts = np.zeros((classes, classes + 1, len(self._sorted) + 1), dtype=np.int64)
        """`(truth, best class or none, how many of the sorted thresholds it reaches)`."""

    def add(
        self, truth: NDArray[np.integer], best: NDArray[np.integer], probability: NDArray[np.floating[Any]]
    ) -> None:
        """Count the pixels of an image.

        Args:
            truth: `(row, col)` labels.
            best: `(row, col)` most probable class; outside the classes (nodata): none.
            probability: `(row, col)` of that class; compared with the thresholds in its own float type, so that the
                labels are those of `probability < threshold`.

        Raises:
            UsageError: as `Confusion.add`.
        """
        size, levels = len(self.counts), len(self._sorted) + 1
        actual, predicted = counted_pixels(truth, best, classes=size, ignore=self.ignore)
        if probability.shape != truth.shape:
            raise UsageError(f"Truth has {truth.shape} pixels, the probabilities {probability.shape}.")
        value = probability[truth != self.ignore]
        reached = np.searchsorted(self._sorted.astype(probability.dtype), value, side="right")
        predicted = np.where((predicted < 0) | (predicted >= size), size, predicted)
        index = (actual * (size + 1) + predicted) * levels + reached
        self.counts += np.bincount(index, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: ThresholdConfusion) -> ThresholdConfusion:
        """Add the counts of other images, of the same classes and thresholds; returns itself.

        Raises:
            UsageError: the other one has other classes, thresholds or background.
        """
        if (self.thresholds, self.background, self.counts.shape) != (
            other.thresholds,
            other.background,
            other.counts.shape,
        ):
            raise UsageError("Cannot add up confusions of different classes, thresholds or backgrounds.")
        self.counts += other.counts
        return self

    def at(self, threshold: float) -> Confusion:
        """The confusion of one of the thresholds.

        Raises:
            UsageError: it is none of them.
        """
        if threshold not in self.thresholds:
            raise UsageError(f"Nothing was counted for the threshold {threshold:g}; known: {list(self.thresholds)}.")
        size = len(self.counts)
        level = int(np.searchsorted(self._sorted, threshold)) + 1
        kept, below = self.counts[..., level:].sum(axis=-1), self.counts[:, :size, :level].sum(axis=(1, 2))
        nothing = kept[:, size] + self.counts[:, size, :level].sum(axis=-1)
        found = Confusion(size, ignore=self.ignore)
        found.counts += kept[:, :size]
        found.missed += nothing
        if self.background is None:
            found.missed += below
        else:
            found.counts[:, self.background] += below
        return found

    def confusions(self) -> dict[float, Confusion]:
        """The confusion of each threshold, in the order given."""
        return {threshold: self.at(threshold) for threshold in self.thresholds}


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Figures of a confusion, 0..1. Of a class: NaN where there is nothing to divide by."""

    iou: Figures
    """`(class,)`; NaN for a class neither present nor predicted."""
    accuracy: float
    """Share of pixels that are right (mmsegmentation's aAcc); NaN without a pixel."""
    recall: Figures
    """`(class,)`: share of the true pixels that are found (mmsegmentation's Acc); NaN for a class not present."""
    precision: Figures
    """`(class,)`: share of the predicted pixels that are right; NaN for a class not predicted."""
    fscore: Figures
    """`(class,)`: 2 P R / (P + R); as in mmsegmentation NaN, not 0, where precision and recall are both 0 or one is
    NaN."""
    dice: Figures
    """`(class,)`: 2 TP / (true + predicted); 0 where `fscore` is NaN although the class is there."""
    pixels: NDArray[np.int64]
    """`(class,)`: true pixels."""

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that are present or predicted."""
        return mean(self.iou)

    @property
    def macc(self) -> float:
        """Mean recall of the classes that are present (mmsegmentation's mAcc)."""
        return mean(self.recall)

    @property
    def mfscore(self) -> float:
        """Mean of the F scores that are numbers (mmsegmentation's mFscore)."""
        return mean(self.fscore)

    @property
    def mdice(self) -> float:
        """Mean Dice of the classes that are present or predicted (mmsegmentation's mDice)."""
        return mean(self.dice)

    def foreground_iou(self, background: int | None = 0) -> float:
        """Mean IoU without the background class: of sets with two classes, the IoU of what is looked for."""
        return mean(self.iou if background is None else np.delete(self.iou, background))


def scores_of(counts: NDArray[np.int64], *, absent: float | None = None) -> Scores:
    """Figures of counts `(truth, class + 1)`, the last column of which holds pixels predicted as no class."""
    hit = np.diag(counts).astype(float)
    truth, predicted = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = hit / truth, hit / predicted
        figures = {
            "iou": hit / (truth + predicted - hit),
            "recall": recall,
            "precision": precision,
            "fscore": 2 * precision * recall / (precision + recall),
            "dice": 2 * hit / (truth + predicted),
        }
        accuracy = float(np.float64(hit.sum()) / truth.sum())
    if absent is not None:
        figures = {name: np.nan_to_num(values, nan=absent) for name, values in figures.items()}
        accuracy = absent if np.isnan(accuracy) else accuracy
    return Scores(accuracy=accuracy, pixels=truth, **figures)


def mean(values: Figures) -> float:
    """Of those that are numbers; NaN of none."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")


def counted_pixels(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], *, classes: int, ignore: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """True and predicted labels `(pixel,)` where the truth is not ignored.

    Raises:
        UsageError: a true label is neither a class nor `ignore`, or the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise UsageError(f"Truth has {truth.shape} pixels, the prediction {prediction.shape}; resize the prediction.")
    counted = truth != ignore
    actual, predicted = truth[counted].astype(np.int64), prediction[counted].astype(np.int64)
    if actual.size and not 0 <= actual.min() <= actual.max() < classes:
        raise UsageError(f"True labels must be 0..{classes - 1} or {ignore}: {actual.min()}..{actual.max()}.")
    return actual, predicted
