"""FAST, the rule of AL4FM (ICCV 2025, https://github.com/mburges-cvl/ICCV_AL4FM), on arrays.

An image is worth a label if what a detector sees disagrees with class-agnostic masks (the authors': SAM's); of the most
uncertain images those are taken whose masks are spread inside their classes and close to two classes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch.nn import functional as F

Floats = NDArray[np.floating]
Metric = Literal["cosine", "euclidean"]

MIN_SCORE = 0.5
"""Predictions up to this do not count."""

UNCERTAINTIES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "original": lambda c, m: np.abs(c - m) + 0.5 * (1 - c) * (1 - m),
    "original_wo": lambda c, m: np.abs(c - m),
    "product": lambda c, m: 1 - c * m,
    "harmonic": lambda c, m: 1 - 2 * c * m / (c + m + 1e-6),
    "combined": lambda c, m: np.abs(c - m) + 1 - (c + m) / 2,
    "exponential": lambda c, m: np.exp(-5 * np.minimum(c, m)),
}
"""Of a prediction with score c that a mask fits by m, both 0..1."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """The class-agnostic box that fits each prediction of an image best."""

    index: NDArray[np.int64]
    """`(n,)` of the boxes; several predictions may have the same."""
    fit: Floats
    """`(n,)` 0..1: exp(-cost)."""
    giou: Floats
    """`(n,)` -1..1."""
    scores: Floats
    """`(n,)` of the predictions that count."""


def match(boxes: Floats, scores: Floats, masks: Floats, *, corners_as_centres: bool = False) -> Matches:
    """Match the predictions of an image that count.

    The cost of a pair is the L1 distance of x, y, width and height, divided by the sum of the mean height and the mean
    width of the image's masks, plus 1 - GIoU.

    Args:
        boxes: `(n, 4)` left, top, right, bottom of the predictions.
        scores: `(n,)` 0..1.
        masks: `(m, 4)` left, top, width, height of the masks' boxes.
        corners_as_centres: what the authors' code does: GIoU takes left and top for the centre, which moves boxes of
            different sizes against each other.
    """
    kept = scores > MIN_SCORE
    scores = np.asarray(scores)[kept]
    found = np.asarray(boxes, np.float64).reshape(-1, 4)[kept]
    found = np.hstack([found[:, :2], found[:, 2:] - found[:, :2]])
    masks = np.asarray(masks, np.float64).reshape(-1, 4)
    if not len(found) or not len(masks):
        none = np.zeros(len(found) if len(masks) else 0)
        return Matches(index=none.astype(np.int64), fit=none, giou=none, scores=scores[: len(none)])
    size = masks[:, 3].mean() + masks[:, 2].mean()
    giou = _giou(*(_edges(part, centred=corners_as_centres) for part in (found, masks)))
    cost = cdist(found, masks, "cityblock") / size + 1 - giou
    best = cost.argmin(axis=1)
    rows = np.arange(len(found))
    return Matches(index=best, fit=np.exp(-cost[rows, best]), giou=giou[rows, best], scores=scores)


def image_uncertainty(matches: Matches, formula: str = "original") -> float:
    """Mean uncertainty of an image's predictions, 0 for one that does not overlap its mask; 0 without predictions."""
    if not len(matches.scores):
        return 0.0
    values = UNCERTAINTIES[formula](matches.scores, matches.fit)
    return float(np.where(matches.giou < 0, 0.0, values).mean())


def last(values: Floats, n: int) -> NDArray[np.int64]:
    """Indices of the n largest values, ascending by value."""
    return np.argsort(values, kind="stable")[max(0, len(values) - n) :].astype(np.int64)


def mask_features(features: Floats, masks: NDArray[np.integer], how: Literal["mean", "max"] = "mean") -> Floats:
    """Features of the instances of an image.

    Args:
        features: `(dim, h, w)`; interpolated bilinearly to the masks.
        masks: `(row, col)` number of the instance of a pixel.

    Returns:
        `(instances, dim)` of the numbers 0..max; zeros for a number without pixels.
    """
    values = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))[None]
    large = F.interpolate(values, size=masks.shape, mode="bilinear", align_corners=False)[0].flatten(1).T
    index = torch.from_numpy(masks.astype(np.int64).ravel())[:, None].expand_as(large)
    out = torch.zeros(int(masks.max()) + 1, large.shape[1])
    found: Floats = out.scatter_reduce(0, index, large, "mean" if how == "mean" else "amax", include_self=False).numpy()
    return found


def k_means(points: Floats, start: Floats, *, rounds: int = 100, tolerance: float = 1e-4) -> Floats:
    """Centres `(k, dim)` of points `(n, dim)` from some to begin with; one without points stays where it is."""
    centres = np.array(start, np.float64)
    for _ in range(rounds):
        nearest = cdist(points, centres).argmin(axis=1)
        moved = centres.copy()
        for k in np.unique(nearest):
            moved[k] = points[nearest == k].mean(axis=0)
        done = np.allclose(moved, centres, rtol=0, atol=tolerance)
        centres = moved
        if done:
            break
    return centres


def prototypes_of(
    points: Floats, classes: NDArray[np.integer], *, centres: int = 5, seed: int = 0
) -> dict[int, Floats]:
    """Class to its k-means centres, from `centres` of its points `(n, dim)` drawn at random; all, if it has fewer."""
    random = np.random.default_rng(seed)
    found = {}
    for name in np.unique(classes).tolist():
        own = points[classes == name]
        start = own[random.permutation(len(own))[:centres]]
        found[name] = k_means(own, start)
    return found


def nearest_class(
    features: Floats, prototypes: Mapping[int, Floats], metric: Metric = "cosine"
) -> tuple[NDArray[np.int64], Floats]:
    """Class of the nearest prototype `(n,)`, and by how much the nearest of another class is farther `(n,)`.

    Args:
        features: `(n, dim)`.
        prototypes: class to `(k, dim)`.
    """
    names = np.array(sorted(prototypes))
    distance = np.stack([_distances(features, prototypes[name], metric).min(axis=1) for name in names.tolist()], axis=1)
    order = np.sort(distance, axis=1)
    margin = order[:, 1] - order[:, 0] if len(names) > 1 else np.zeros(len(features))
    return names[distance.argmin(axis=1)].astype(np.int64), margin


def diversity(features: Floats, prototypes: Mapping[int, Floats], metric: Metric = "cosine") -> float:
    """How diverse the masks of an image are, by their features `(n, dim)`.

    The mean over the classes present of the largest Euclidean distance inside a class, times 1 - the mean margin.
    """
    if not len(features):
        return 0.0
    classes, margins = nearest_class(features, prototypes, metric)
    spread = [float(cdist(own, own).max()) for own in (features[classes == name] for name in np.unique(classes))]
    return float(np.mean(spread)) * (1 - float(margins.mean()))


def _distances(a: Floats, b: Floats, metric: Metric) -> Floats:
    if metric == "euclidean":
        found: Floats = cdist(a, b)
        return found
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    return 1 - a @ b.T


def _edges(boxes: Floats, *, centred: bool) -> Floats:
    """Left, top, right, bottom of boxes of x, y, width and height."""
    at, size = boxes[:, :2], boxes[:, 2:]
    return np.hstack([at - size / 2, at + size / 2]) if centred else np.hstack([at, at + size])


def _giou(a: Floats, b: Floats) -> Floats:
    """Generalised IoU `(n, m)` of boxes given by their edges."""

    def area(left_top: Floats, right_bottom: Floats) -> Floats:
        found: Floats = np.clip(right_bottom - left_top, 0, None).prod(axis=-1)
        return found

    own, other = area(a[:, :2], a[:, 2:]), area(b[:, :2], b[:, 2:])
    a, b = a[:, None], b[None]
    common = area(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    hull = area(np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:]))
    union = own[:, None] + other[None] - common
    found: Floats = common / np.maximum(union, 1e-12) - (hull - union) / np.maximum(hull, 1e-12)
    return found
