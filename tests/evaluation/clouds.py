"""Unit vectors in classes of unequal size, in no order, near words of their own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earthwords.evaluation.metrics.probes import LabelledVectors
from earthwords.evaluation.metrics.zeroshot import unit

SIZES = (31, 9, 22, 14)


@dataclass(frozen=True)
class Cloud:
    images: np.ndarray
    labels: np.ndarray
    texts: np.ndarray
    """`(template, class, dim)` of different lengths."""

    def known(self, index: np.ndarray | None = None) -> LabelledVectors:
        index = np.arange(len(self.labels)) if index is None else index
        return LabelledVectors(vectors=self.images[index], labels=self.labels[index])


def cloud(
    sizes: tuple[int, ...] = SIZES, *, dim: int = 12, spread: float = 0.5, words: float = 0.6, seed: int = 3
) -> Cloud:
    """Images `spread` about the centres of their classes; words `words` beside them."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((len(sizes), dim)))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = unit(centres[labels] + spread * rng.standard_normal((len(labels), dim)))
    texts = centres + words * rng.standard_normal((3, len(sizes), dim))
    return Cloud(images, labels, texts.astype(np.float32))
