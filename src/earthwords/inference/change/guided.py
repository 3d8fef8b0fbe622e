"""Guided filter with a guide of several bands (He, Sun and Tang 2010)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float32]


class GuidedFilter:
    """Smooths pictures but for the edges of one guide, of which everything is computed once."""

    def __init__(self, guide: Array, *, radius: int, regularity: float) -> None:
        """
        Args:
            guide: `(3, row, col)`.
            radius: of the squares in which a picture is a linear function of the guide, pixels.
            regularity: variance of the guide below which a square is taken for flat.
        """
        self.guide = guide
        self._size = 2 * radius + 1
        self._mean = np.stack([self._averaged(band) for band in guide])
        self._inverse = self._inverted(regularity)

    def __call__(self, picture: Array) -> Array:
        """`(row, col)`, smoothed."""
        mean = self._averaged(picture)
        common = [self._averaged(band * picture) - own * mean for band, own in zip(self.guide, self._mean, strict=True)]
        slopes = [sum(self._inverse[i][j] * common[j] for j in range(3)) for i in range(3)]
        offset = mean - sum(slope * own for slope, own in zip(slopes, self._mean, strict=True))
        smooth = self._averaged(offset)
        for slope, band in zip(slopes, self.guide, strict=True):
            smooth += self._averaged(slope) * band
        return smooth

    def _averaged(self, picture: Array) -> Array:
        found: Array = ndimage.uniform_filter(picture, self._size, mode="nearest")
        return found

    def _inverted(self, regularity: float) -> list[list[Array]]:
        """The inverse of the covariance of the guide in the square around each pixel, by cofactors."""
        m = [
            [
                self._averaged(self.guide[i] * self.guide[j]) - self._mean[i] * self._mean[j] + (i == j) * regularity
                for j in range(i + 1)
            ]
            for i in range(3)
        ]
        a, b, c, d, e, f = m[0][0], m[1][0], m[1][1], m[2][0], m[2][1], m[2][2]
        cofactors = [
            [c * f - e * e, d * e - b * f, b * e - c * d],
            [d * e - b * f, a * f - d * d, b * d - a * e],
            [b * e - c * d, b * d - a * e, a * c - b * b],
        ]
        determinant = a * cofactors[0][0] + b * cofactors[0][1] + d * cofactors[0][2]
        return [[part / determinant for part in row] for row in cofactors]
