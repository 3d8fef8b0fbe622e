"""Canny's edges, pixel by pixel those of scikit-image 0.26 (`feature.canny`), which is no dependency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GREY = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue, as of scikit-image."""


def grey(image: NDArray[np.integer | np.floating]) -> NDArray[np.float64]:
    """`(3, row, col)` red, green, blue, bytes or 0..1, to brightness 0..1."""
    scale = 255.0 if image.dtype.kind in "ui" else 1.0
    found: NDArray[np.float64] = np.moveaxis(image / scale, 0, -1) @ np.array(GREY)
    return found


def canny(image: NDArray[np.float64], *, sigma: float = 2.0, low: float = 0.1, high: float = 0.2) -> NDArray[np.bool_]:
    """Edges of an image `(row, col)` 0..1.

    Args:
        sigma: of the Gaussian that goes before; what lies beyond the border counts for nothing.
        low, high: gradients of a pixel of an edge, and of the strongest pixel of one.
    """
    size = image.shape
    if min(size) < 3:
        return np.zeros(size, bool)
    blurred, share = (ndimage.gaussian_filter(x, sigma, mode="constant") for x in (image, np.ones(size)))
    smooth = blurred / (share + np.finfo(np.float64).eps)
    down, right = ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)
    strength = np.sqrt(down * down + right * right)
    ridge = np.zeros(size)
    ridge[1:-1, 1:-1] = _ridges(down, right, strength, low)
    labels, count = ndimage.label(ridge > 0, np.ones((3, 3), bool))
    kept = np.zeros(count + 1, bool)
    kept[np.unique(labels[(ridge > 0) & (ridge >= high)])] = True
    found: NDArray[np.bool_] = kept[labels]
    return found


def _ridges(
    down: NDArray[np.float64], right: NDArray[np.float64], strength: NDArray[np.float64], low: float
) -> NDArray[np.float64]:
    """Strength, 0 where a neighbour along the gradient is stronger, of all pixels but the border."""
    height, width = strength.shape

    def moved(rows: int, cols: int) -> NDArray[np.float64]:
        return strength[1 + rows : height - 1 + rows, 1 + cols : width - 1 + cols]

    own, y, x = (part[1:-1, 1:-1] for part in (strength, down, right))
    same = ((y >= 0) & (x >= 0)) | ((y <= 0) & (x <= 0))
    steep = np.where(same, abs(y) > abs(x), abs(y) >= abs(x))
    larger = np.where(steep, abs(y), abs(x))
    share = np.where(steep, abs(x), abs(y)) / np.where(larger > 0, larger, 1)
    found = own >= low
    for side in (1, -1):
        straight = np.where(steep, np.where(same, moved(side, 0), moved(-side, 0)), moved(0, side))
        diagonal = np.where(same, moved(side, side), moved(-side, side))
        found &= diagonal * share + straight * (1 - share) <= own
    return np.where(found, own, 0.0)
