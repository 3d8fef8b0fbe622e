"""k nearest neighbours with a weighted vote (https://arxiv.org/abs/1805.01978), as RemoteCLIP probes its features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError

NEIGHBOURS, TEMPERATURE = 20, 0.07
_SCORES = 2**23
"""Cosines held at once."""


def neighbours(
    queries: NDArray[np.floating], images: NDArray[np.floating], k: int, *, themselves: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The `k` images of largest cosine, `(query, k)` indices and cosines, nearest first, of equal ones the earlier.

    Chunked: never more than about eight million cosines are in memory.

    Args:
        queries: `(query, dim)` unit vectors.
        images: `(image, dim)` unit vectors.
        k: how many; at most as many as there are.
        themselves: queries are the images, and none counts as its own neighbour.
    """
    k = min(k, len(images) - themselves)
    if k < 1:
        raise UsageError("Nearest neighbours need at least one image to be near to.")
    rows = max(1, _SCORES // len(images))
    index = np.empty((len(queries), k), np.int64)
    cosine = np.empty((len(queries), k), queries.dtype)
    for start in range(0, len(queries), rows):
        scores = queries[start : start + rows] @ images.T
        if themselves:
            scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        index[start : start + rows], cosine[start : start + rows] = _largest(scores, k)
    return index, cosine


def _largest(scores: NDArray[np.floating], k: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The `k` largest of every row; where several are level with the last, the earlier ones."""
    last = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
    above, level = scores > last, scores == last
    kept = above | (level & (np.cumsum(level, axis=1) <= k - above.sum(axis=1, keepdims=True)))
    found = np.nonzero(kept)[1].reshape(len(scores), k)
    values = np.take_along_axis(scores, found, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(values, order, axis=1)


def vote(
    queries: NDArray[np.floating],
    images: NDArray[np.floating],
    labels: NDArray[np.integer],
    *,
    classes: int,
    k: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> NDArray[np.float64]:
    """Scores `(query, class)`: sum over the neighbours of that class of `exp(cosine / temperature)`.

    Args:
        queries: `(query, dim)` unit vectors.
        images: `(image, dim)` unit vectors whose classes are known.
        labels: `(image,)` their classes.
        classes: how many classes there are, seen or not.
    """
    if not (k >= 1 and temperature > 0):
        raise UsageError(f"A vote needs k of at least 1 and a temperature above 0, got {k} and {temperature:g}.")
    index, cosine = neighbours(queries, images, k)
    weights = np.exp(cosine.astype(np.float64) / temperature)
    place = np.arange(len(queries))[:, None] * classes + np.asarray(labels)[index]
    total = np.bincount(place.ravel(), weights.ravel(), minlength=len(queries) * classes)
    return np.asarray(total, np.float64).reshape(len(queries), classes)
