"""Zero-shot classification: the class whose words are nearest (https://arxiv.org/abs/2103.00020)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def accuracy(images: NDArray[np.floating], words: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share of images whose own class has the largest cosine.

    Args:
        images: `(image, dim)` unit vectors.
        words: `(class, dim)` unit vectors.
        labels: `(image,)`.
    """
    return float(((images @ words.T).argmax(axis=1) == labels).mean())
