"""What is counted of an image: pixels and edges at two thresholds in one pass. Whole numbers, so no order matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.evaluation.metrics.boundary_iou import BoundaryCounts
from earthwords.evaluation.metrics.segmentation import Scores, ThresholdConfusion


@dataclass(frozen=True, kw_only=True)
class CountingRule:
    """How a set is measured."""

    classes: int
    background: int | None
    """Class of the pixels below a threshold; None: they count as no class."""
    tuned: float
    """Threshold that was tuned for the set, 0..1."""
    fixed: float
    """Threshold that is the same for all sets, 0..1."""
    levels: tuple[float | None, ...] = ()
    """Of classes with a threshold of their own, which holds instead of both; None: no own one. Empty: of no class."""

    def judged(self, best: NDArray[np.integer], probability: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """`(row, col)` probabilities to compare with both: 1 or -1 for a class that reaches its own one or does not."""
        if not any(level is not None for level in self.levels):
            return probability
        own = np.array([np.nan if level is None else level for level in (*self.levels, None)], probability.dtype)
        least = own[np.where((best >= 0) & (best < self.classes), best, self.classes)]
        reached = np.where(probability >= least, probability.dtype.type(1), probability.dtype.type(-1))
        return np.where(np.isnan(least), probability, reached)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Each once."""
        return tuple(dict.fromkeys((self.tuned, self.fixed)))


class Counts:
    """Counts of one image or many."""

    def __init__(self, rule: CountingRule) -> None:
        self.rule = rule
        self.pixels = ThresholdConfusion(rule.classes, rule.thresholds, background=rule.background)
        self.edges = {threshold: BoundaryCounts(rule.classes) for threshold in rule.thresholds}

    def add(
        self, truth: NDArray[np.integer], best: NDArray[np.integer], probability: NDArray[np.floating[Any]]
    ) -> Counts:
        """Count an image; returns itself.

        Args:
            truth: `(row, col)` classes, 255 does not count.
            best: `(row, col)` most probable class; outside the classes (nodata): none.
            probability: `(row, col)` of that class, 0..1.

        Raises:
            UsageError: the shapes differ, or a true label is no class.
        """
        self.pixels.add(truth, best, self.rule.judged(best, probability))
        for threshold, edges in self.edges.items():
            edges.add(truth, at(threshold, best, probability, self.rule))
        return self

    def merge(self, other: Counts) -> Counts:
        """Add the counts of other images; returns itself.

        Raises:
            UsageError: those were measured by another rule.
        """
        self.pixels.merge(other.pixels)
        for threshold, edges in self.edges.items():
            edges.merge(other.edges[threshold])
        return self

    def scores(self, threshold: float) -> Scores:
        """The figures at one of the thresholds."""
        return self.pixels.at(threshold).scores()

    def as_json(self) -> dict[str, Any]:
        """The numbers that are not 0, with their places; `from_json` reads it."""
        edges = [_sparse(part) for each in self.edges.values() for part in (each.common, each.either)]
        return {"pixels": _sparse(self.pixels.counts), "edges": edges}

    @classmethod
    def from_json(cls, rule: CountingRule, stored: Mapping[str, Any]) -> Counts:
        """What `as_json` made of counts by the same rule.

        Raises:
            ValueError, KeyError, TypeError, IndexError: it is something else.
        """
        found = cls(rule)
        arrays = [found.pixels.counts, *(part for e in found.edges.values() for part in (e.common, e.either))]
        for array, (places, values) in zip(arrays, [stored["pixels"], *stored["edges"]], strict=True):
            array.flat[np.array(places, np.int64)] = np.array(values, np.int64)
        return found


def at(
    threshold: float, best: NDArray[np.integer], probability: NDArray[np.floating[Any]], rule: CountingRule
) -> NDArray[np.int32]:
    """`(row, col)` labels at a threshold; `rule.classes` where a pixel has none."""
    none = rule.classes
    labels = np.where((best >= 0) & (best < none), best, none).astype(np.int32)
    probability = rule.judged(best, probability)
    below = (labels < none) & (probability < np.asarray(threshold, probability.dtype))
    labels[below] = none if rule.background is None else rule.background
    return labels


def _sparse(array: NDArray[np.int64]) -> list[list[int]]:
    places = np.flatnonzero(array)
    return [places.tolist(), array.flat[places].tolist()]
