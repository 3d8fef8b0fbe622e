"""Accuracy and area from a stratified random sample, with standard errors.

Of Stehman (2014), "Estimating area and map accuracy for stratified random sampling when the strata are different from
the map classes", Int. J. Remote Sensing 35(13): every figure is a mean of an indicator over the strata, or a ratio of
two. Where the strata are the classes of the map these are the estimators of Olofsson et al. (2014), "Good practices for
estimating area and assessing accuracy of land change", Remote Sensing of Environment 148, equations 1 to 11.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Z = 1.96
"""Standard errors on either side of an interval of 95 %, as the paper prints them."""
MOST_UNCORRECTED = 0.05
"""Share of a stratum's pixels up to which a sample counts as small (Cochran 1977, 2.6); beyond it variances shrink."""

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Strata:
    """What was sampled."""

    names: tuple[str, ...]
    sizes: Floats
    """`(stratum,)` area, in any unit."""
    pixels: Floats
    """`(stratum,)`; NaN where nobody knows."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, kw_only=True, eq=False)
class PointSample:
    """Points with a known truth."""

    stratum: Indices
    """`(point,)`."""
    mapped: Indices
    """`(point,)` class of the map; -1: none."""
    truth: Indices
    """`(point,)` true class; -1: one that does not count for accuracy."""
    weight: Floats
    """`(point,)` area that each stands for, up to a factor of its stratum."""

    def __len__(self) -> int:
        return len(self.stratum)


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimate:
    """Figures and their standard errors, arrays of one shape; NaN where there is nothing to tell them by."""

    value: Floats
    se: Floats

    def interval(self, *, most: float = 1.0) -> tuple[Floats, Floats]:
        """Ends of the intervals of 95 %, within 0 and `most`."""
        return np.clip(self.value - Z * self.se, 0, most), np.clip(self.value + Z * self.se, 0, most)


@dataclass(frozen=True, kw_only=True, eq=False)
class Estimates:
    """Everything that a sample tells of a map; shares are of the area of all strata."""

    counts: Indices
    """`(map, truth)` points; the last row is of points where the map has no class."""
    proportions: Floats
    """`(map, truth)` estimated shares of the area, likewise."""
    overall: Estimate
    """Share of the mapped area that is right, a scalar."""
    users: Estimate
    """`(class,)`: of what is mapped so, the share that is."""
    producers: Estimate
    """`(class,)`: of what is so, the share that is mapped so."""
    area: Estimate
    """`(class,)`: true share."""


def estimate(sample: PointSample, strata: Strata, *, classes: int, holds: NDArray[np.bool_] | None = None) -> Estimates:
    """All figures of a sample.

    Args:
        sample: at least one point in every stratum.
        strata: what it was drawn from.
        classes: of map and truth together.
        holds: `(stratum, class)`, whether a stratum has pixels that are mapped so; None: any may have.
    """
    means = _Means(sample, strata)
    mapped = (sample.mapped[:, None] == np.arange(classes)).astype(float)
    truth = (sample.truth[:, None] == np.arange(classes)).astype(float)
    counted = (sample.truth >= 0).astype(float)[:, None]
    right = (sample.mapped == sample.truth).astype(float)[:, None] * counted
    overall = means.ratio(right, (sample.mapped >= 0).astype(float)[:, None] * counted)
    there = sample.truth >= 0
    cells = (np.where(sample.mapped < 0, classes, sample.mapped) * classes + sample.truth)[there]
    size = (classes + 1) * classes
    counts = np.bincount(cells, minlength=size).reshape(classes + 1, classes)
    shares: Floats = np.bincount(cells, weights=means.portion[there], minlength=size).astype(float)
    return Estimates(
        counts=counts,
        proportions=shares.reshape(classes + 1, classes),
        overall=Estimate(value=overall.value[0], se=overall.se[0]),
        users=means.ratio(mapped * truth, mapped * counted, matters=holds),
        producers=means.ratio(mapped * truth, truth),
        area=means.ratio(truth, np.ones((len(sample), 1))),
    )


class _Means:
    """Stratified means of indicators and of their ratios."""

    def __init__(self, sample: PointSample, strata: Strata) -> None:
        self.stratum = sample.stratum
        self._order = np.argsort(sample.stratum, kind="stable")
        self._starts = np.searchsorted(sample.stratum[self._order], np.arange(len(strata)))
        self.points = np.bincount(sample.stratum, minlength=len(strata)).astype(float)
        self.share = strata.sizes / strata.sizes.sum()
        together = np.bincount(sample.stratum, weights=sample.weight, minlength=len(strata))
        self.weight = (sample.weight * self.points[sample.stratum] / together[sample.stratum])[:, None]
        """Mean 1 in each stratum."""
        self.portion = (self.share / self.points)[sample.stratum] * self.weight[:, 0]
        """`(point,)` share of the whole that each stands for."""
        drawn = np.nan_to_num(self.points / strata.pixels)
        self.correction = np.where(drawn > MOST_UNCORRECTED, np.clip(1 - drawn, 0, 1), 1.0)

    def of(self, values: Floats) -> Floats:
        """`(m,)` means over all strata of `(point, m)`."""
        return np.asarray(self.share @ self._by_stratum(values))

    def ratio(self, upper: Floats, lower: Floats, *, matters: NDArray[np.bool_] | None = None) -> Estimate:
        """Mean of `upper` over mean of `lower`, both `(point, m)`, `(m,)` and its linearised standard error.

        Args:
            matters: `(stratum, m)`: where `lower` can be other than 0; a single point there leaves the error unknown.
        """
        total = self.of(lower)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = self.of(upper) / total
            variance = self._variance(upper - value * lower, matters) / total**2
        return Estimate(value=value, se=np.sqrt(variance))

    def _variance(self, values: Floats, matters: NDArray[np.bool_] | None) -> Floats:
        """`(m,)` of the stratified mean; NaN where a stratum that matters, and has more pixels, has a single point."""
        apart = self.weight * (values - self._by_stratum(values)[self.stratum])
        apart[np.abs(apart) <= 1e-12 * np.abs(values).max(axis=0, initial=0)] = 0  # what rounding leaves of nothing
        squares = self._sums(apart**2)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = squares / (self.points * (self.points - 1))[:, None] * self.correction[:, None]
        variance[self.correction == 0] = 0.0
        if matters is not None:
            variance = np.where(matters, variance, 0.0)
        return np.asarray(self.share**2 @ variance)

    def _by_stratum(self, values: Floats) -> Floats:
        """`(stratum, m)` means."""
        return np.asarray(self._sums(self.weight * values) / self.points[:, None])

    def _sums(self, values: Floats) -> Floats:
        return np.asarray(np.add.reduceat(values[self._order], self._starts, axis=0))
