"""Found things against true ones: F1, average precision, recall of proposals, by the rules of InstructSAM and COCO.

Things of one image and class are compared by a table of IoU `(found, true)`; what a table is made of, boxes or masks,
does not matter here. The order of what was found is part of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]

LEAST = 0.5
"""IoU from which on a thing is found."""
MOST_DETECTIONS = 100
"""Of an image and class, as COCO looks at them."""
_RECALLS = np.linspace(0, 1, 101)


def box_iou(found: ArrayLike, true: ArrayLike) -> NDArray[np.float64]:
    """`(found, true)` of boxes `(n, 4)`: x, y, width, height, as continuous rectangles."""
    a, b = np.asarray(found, np.float64).reshape(-1, 1, 4), np.asarray(true, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.clip(sides, 0, None).prod(axis=-1)
    return np.asarray(common / np.maximum(a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - common, 1e-12))


def mask_iou(found: Sequence[Array], true: Sequence[Array]) -> NDArray[np.float64]:
    """`(found, true)` of masks `(row, col)` of one image."""
    if not len(found) or not len(true):
        return np.zeros((len(found), len(true)))
    a = np.stack([np.asarray(mask, bool).ravel() for mask in found]).astype(np.float32)
    b = np.stack([np.asarray(mask, bool).ravel() for mask in true]).astype(np.float32)
    common = (a @ b.T).astype(np.float64)
    return np.asarray(common / np.maximum(a.sum(1)[:, None] + b.sum(1) - common, 1))


def greedy(iou: Array, *, least: float = LEAST) -> NDArray[np.int64]:
    """`(found,)`: the true thing that each takes, in turn, -1 for none: the free one with the largest IoU, the first of
    equal ones, if that is at least `least`."""
    free = np.ones(iou.shape[1], bool)
    taken = np.full(len(iou), -1)
    for i, row in enumerate(iou):
        if not free.any():
            break
        best = int(np.where(free, row, -1).argmax())
        if row[best] >= least:
            taken[i], free[best] = best, False
    return taken


@dataclass(kw_only=True)
class Tally3:
    """Found, invented and missed things."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def add(self, tp: int, fp: int, fn: int) -> None:
        """More of them."""
        self.tp, self.fp, self.fn = self.tp + tp, self.fp + fp, self.fn + fn

    @property
    def precision(self) -> float:
        """0 where nothing was found."""
        return self.tp / max(1, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """0 where nothing is there."""
        return self.tp / max(1, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """0 where nothing was found or is there."""
        return 2 * self.tp / max(1, 2 * self.tp + self.fp + self.fn)

    @property
    def is_there(self) -> bool:
        """Whether there are true things."""
        return self.tp + self.fn > 0


@dataclass(kw_only=True)
class ImageThings:
    """Things of an image and class."""

    iou: Array
    """`(found, true)`."""
    scores: Array
    """`(found,)`, in the order of the file."""

    def above(self, threshold: float) -> ImageThings:
        """Those with at least such a score."""
        kept = self.scores >= threshold
        return ImageThings(iou=self.iou[kept], scores=self.scores[kept])


Things: TypeAlias = Mapping[str, Sequence[ImageThings]]
"""Class to its things, image by image in the order of their numbers; images with neither may be left out."""


def f1_table(things: Things, *, least: float = LEAST) -> dict[str, Tally3]:
    """Class to what was found of it, pooled over the images."""
    found = {}
    for title, images in things.items():
        tally = found[title] = Tally3()
        for image in images:
            hits = int((greedy(image.iou, least=least) >= 0).sum())
            tally.add(hits, len(image.iou) - hits, image.iou.shape[1] - hits)
    return found


def mean_f1(table: Mapping[str, Tally3], titles: Sequence[str] | None = None) -> float:
    """Over the classes that have true things (of `titles`)."""
    values = [t.f1 for name, t in table.items() if t.is_there and (titles is None or name in titles)]
    return float(np.mean(values)) if values else 0.0


def score_sweep(things: Things, *, least: float = LEAST) -> tuple[list[float], float]:
    """The mean F1 at thresholds of the score 0, 0.02, ... 0.98, and the first threshold with the largest."""
    steps = [round(0.02 * k, 2) for k in range(50)]
    values = [mean_f1(f1_table({t: [i.above(s) for i in im] for t, im in things.items()}, least=least)) for s in steps]
    return values, steps[int(np.argmax(values))]


def average_precision(images: Sequence[ImageThings], *, scored: bool, least: float = LEAST) -> tuple[float, float]:
    """COCO's average precision at one IoU, and the recall; -1 without true things.

    Args:
        scored: by score; else all are taken to be equally sure, so that the order of images and of the file decides.
    """
    true = sum(image.iou.shape[1] for image in images)
    if not true:
        return -1.0, -1.0
    scores, hits = [], []
    for image in images:
        order = np.argsort(-image.scores if scored else np.zeros(len(image.scores)), kind="stable")[:MOST_DETECTIONS]
        scores.append(image.scores[order] if scored else np.ones(len(order)))
        hits.append(_coco_hits(image.iou[order], least))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits)[order]
    if not len(hit):
        return 0.0, 0.0
    tp = np.cumsum(hit)
    recall, precision = tp / true, tp / (np.arange(len(hit)) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(place, len(hit))].mean()), float(recall[-1])


def _coco_hits(iou: Array, least: float) -> NDArray[np.bool_]:
    """Whether each finds a true thing; of equal IoU COCO takes the later one."""
    free, hits = np.ones(iou.shape[1], bool), np.zeros(len(iou), bool)
    for i, row in enumerate(iou):
        best, value = -1, min(least, 1 - 1e-10)
        for j in np.flatnonzero(free):
            if row[j] >= value:
                best, value = int(j), row[j]
        if best >= 0:
            hits[i], free[best] = True, False
    return hits


def proposal_recall(
    images: Sequence[tuple[Array, Sequence[str]]], titles: Sequence[str], *, least: float = LEAST
) -> dict[str, float]:
    """Class to the share of its things that any proposal finds.

    Args:
        images: IoU `(proposal, true)`, and the classes of the true things.
    """
    found, there = dict.fromkeys(titles, 0), dict.fromkeys(titles, 0)
    for iou, classes in images:
        for title in classes:
            there[title] += 1
        for index in greedy(iou, least=least):
            if index >= 0:
                found[classes[index]] += 1
    return {title: found[title] / max(1, there[title]) for title in titles}


@dataclass(kw_only=True)
class Overlap:
    """Pixels of a class, pooled over images."""

    common: int = 0
    union: int = 0

    def add(self, found: Array, true: Array) -> None:
        """Masks of everything of an image `(row, col)`."""
        self.common += int((found & true).sum())
        self.union += int((found | true).sum())

    @property
    def iou(self) -> float | None:
        """None where there is neither."""
        return self.common / self.union if self.union else None


@dataclass(kw_only=True)
class SortedThings:
    """Things of many images by class."""

    titles: Sequence[str]
    iou: Callable[[Sequence[Any], Sequence[Any]], Array]
    images: dict[Any, dict[str, tuple[list[Any], list[float], list[Any]]]] = field(default_factory=dict)

    def found(self, image: Any, title: str, shape: Any, score: float = 1.0) -> None:
        """A thing, in the order of the file."""
        shapes, scores, _ = self._of(image, title)
        shapes.append(shape)
        scores.append(score)

    def true(self, image: Any, title: str, shape: Any) -> None:
        """A true thing."""
        self._of(image, title)[2].append(shape)

    def _of(self, image: Any, title: str) -> tuple[list[Any], list[float], list[Any]]:
        return self.images.setdefault(image, {}).setdefault(title, ([], [], []))

    def things(self) -> dict[str, list[ImageThings]]:
        """In the order of the images' numbers."""
        found: dict[str, list[ImageThings]] = {title: [] for title in self.titles}
        for image in sorted(self.images):
            for title, (shapes, scores, true) in self.images[image].items():
                table = np.asarray(self.iou(shapes, true)).reshape(len(shapes), len(true))
                found[title].append(ImageThings(iou=table, scores=np.array(scores, np.float64)))
        return found
