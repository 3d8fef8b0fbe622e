"""Boundary IoU of semantic segmentation (Cheng et al. 2021, https://arxiv.org/abs/2103.16562): IoU of the strips of two
masks that lie within a distance of their own edges. Strips are summed over the whole set before anything is divided.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.segmentation import IGNORED, counted_pixels, mean

RATIO = 0.02
"""Distance over the image's diagonal, the paper's for COCO and Cityscapes-like sizes."""

Figures = NDArray[np.float64]
Mask = NDArray[np.bool_]


class BoundaryCounts:
    """Pixels of the inner edge strips of every class, in truth and prediction."""

    def __init__(self, classes: int, *, ratio: float = RATIO, ignore: int = IGNORED) -> None:
        """Begin with no pixel.

        Args:
            ratio: width of a strip over the diagonal of its image; at least one pixel.

        Raises:
            UsageError: a ratio that is not above 0.
        """
        if not ratio > 0:
            raise UsageError(f"The width of a boundary is a part of the image's diagonal above 0, got {ratio:g}.")
        self.ratio, self.ignore = ratio, ignore
        self.common = np.zeros(classes, dtype=np.int64)
        """`(class,)`: pixels in both strips."""
        self.either = np.zeros(classes, dtype=np.int64)
        """`(class,)`: pixels in one strip or both."""

    def add(self, truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> None:
        """Count an image of two `(row, col)` label maps.

        Pixels that the truth ignores belong to no mask, of the prediction neither, and a mask that is cut by them or by
        the border of the image has an edge there.

        Raises:
            UsageError: as `Confusion.add`.
        """
        classes = len(self.common)
        counted_pixels(truth, prediction, classes=classes, ignore=self.ignore)
        width, counted = strip_width(truth.shape, self.ratio), truth != self.ignore
        true, predicted = (
            np.where(counted & (each >= 0) & (each < classes), each, classes) for each in (truth, prediction)
        )
        truth_edge, predicted_edge = edges(true, width), edges(predicted, width)
        common = self._counted(true[truth_edge & predicted_edge & (true == predicted)])
        self.common += common
        self.either += self._counted(true[truth_edge]) + self._counted(predicted[predicted_edge]) - common

    def _counted(self, labels: NDArray[np.integer]) -> NDArray[np.int64]:
        """`(class,)` pixels of labels `(pixel,)`; those of no class are left out."""
        return np.bincount(labels, minlength=len(self.common) + 1)[: len(self.common)]

    def merge(self, other: BoundaryCounts) -> BoundaryCounts:
        """Add the counts of other images; returns itself.

        Raises:
            UsageError: the other one has other classes or another ratio.
        """
        if (len(self.common), self.ratio) != (len(other.common), other.ratio):
            raise UsageError("Cannot add up boundaries of different classes or widths.")
        self.common += other.common
        self.either += other.either
        return self

    def iou(self) -> Figures:
        """`(class,)` boundary IoU so far, 0..1; NaN for a class neither present nor predicted."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.common / self.either

    @property
    def miou(self) -> float:
        """Mean over the classes that are present or predicted."""
        return mean(self.iou())


def strip_width(shape: tuple[int, ...], ratio: float = RATIO) -> int:
    """Pixels that a strip is wide in an image of this `(row, col)` shape."""
    return max(1, round(ratio * math.hypot(*shape)))


def strip(mask: Mask, width: int) -> Mask:
    """`(row, col)`: the pixels of a mask that are at most `width` away from what is not, chessboard distance."""
    return mask & edges(mask.astype(np.uint8), width)


def edges(labels: NDArray[np.integer], width: int) -> Mask:
    """`(row, col)`: the pixels of all classes that are at most `width` away from another label or the border.

    Args:
        labels: `(row, col)`, from 0 on.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    signed = labels.astype(np.int32)
    least = minimum_filter(signed, size=2 * width + 1, mode="constant", cval=-1)
    return least != maximum_filter(signed, size=2 * width + 1, mode="constant", cval=-1)
