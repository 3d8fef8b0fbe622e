"""Zero-shot classification: the class whose words are nearest (https://arxiv.org/abs/2103.00020), with ensembles of
prompts as RemoteCLIP (https://arxiv.org/abs/2306.11029) uses them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, unknown
from earthwords.evaluation.metrics.segmentation import Confusion


def unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """`(..., dim)` vectors of length 1. They become float32 before their length is taken, not after.

    Raises:
        UsageError: a vector is not finite, or zero.
    """
    wide = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(wide, axis=-1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise UsageError("Some vectors are zero, NaN or infinite, so they point nowhere.")
    return wide / lengths


def _raw(texts: NDArray[Any]) -> NDArray[np.float32]:
    return unit(np.asarray(texts, dtype=np.float32).mean(axis=0))


def _normalised(texts: NDArray[Any]) -> NDArray[np.float32]:
    return unit(unit(texts).mean(axis=0))


ENSEMBLES = {"raw": _raw, "normalised": _normalised}
"""Mean of the prompts as they come (RemoteCLIP's code), or each of length 1 first (CLIP's, RS-TransCLIP's)."""


def ensemble(texts: NDArray[Any], how: str = "raw") -> NDArray[np.float32]:
    """`(class, dim)` unit vectors from the prompts' `(template, class, dim)`, by a name of `ENSEMBLES`."""
    if how not in ENSEMBLES:
        raise unknown("ensemble", how, ENSEMBLES)
    return ENSEMBLES[how](texts)


def accuracy(images: NDArray[np.floating], words: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share of images whose own class has the largest cosine.

    Args:
        images: `(image, dim)` unit vectors.
        words: `(class, dim)` unit vectors.
        labels: `(image,)`.
    """
    return float(((images @ words.T).argmax(axis=1) == labels).mean())


@dataclass(frozen=True, kw_only=True)
class Classified:
    """Figures of a classification, in percent."""

    top1: float
    top5: float | None
    """None where only the first choice is known, or there are no more than five classes."""
    per_class: NDArray[np.float64]
    """`(class,)`: share of a class's images that are right; NaN for a class without images."""
    confusion: NDArray[np.int64]
    """`(truth, prediction)`: numbers of images."""

    @property
    def mean_per_class(self) -> float:
        """Mean over the classes that have images."""
        return float(np.nanmean(self.per_class))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "top1": self.top1,
            **({} if self.top5 is None else {"top5": self.top5}),
            "mean_per_class": self.mean_per_class,
            "per_class": [None if np.isnan(v) else float(v) for v in self.per_class],
            "confusion": self.confusion.tolist(),
        }


def measure(scores: NDArray[np.floating], labels: NDArray[np.integer]) -> Classified:
    """Figures of scores `(image, class)`; of equal ones the first class counts as the prediction."""
    classes = scores.shape[1]
    own = np.take_along_axis(scores, np.asarray(labels)[:, None], axis=1)
    ahead = (scores > own).sum(axis=1) + ((scores == own) & (np.arange(classes) < labels[:, None])).sum(axis=1)
    return measure_labels(
        scores.argmax(axis=1), labels, classes, top5=100 * float((ahead < 5).mean()) if classes > 5 else None
    )


def measure_labels(
    found: NDArray[np.integer], labels: NDArray[np.integer], classes: int, *, top5: float | None = None
) -> Classified:
    """Figures of predicted classes `(image,)`.

    Raises:
        UsageError: there is no image, or a label is no class.
    """
    if not len(labels):
        raise UsageError("There is no image to classify.")
    confusion = Confusion(classes, ignore=-1)
    confusion.add(np.asarray(labels), np.asarray(found))
    with np.errstate(invalid="ignore"):
        shares = 100 * np.diag(confusion.counts) / confusion.counts.sum(axis=1)
    right = 100 * float((np.asarray(found) == labels).mean())
    return Classified(top1=right, top5=top5, per_class=shares, confusion=confusion.counts)
