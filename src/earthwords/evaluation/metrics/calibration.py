"""Do probabilities mean what they say? Calibration error, temperature scaling, isotonic regression, thresholds.

Guo et al. (2017), "On Calibration of Modern Neural Networks" (https://arxiv.org/abs/1706.04599): the expected
calibration error with bins of equal width, and a single temperature fitted by the likelihood.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize_scalar

Floats: TypeAlias = NDArray[np.float64]
BINS = 15
"""As in the paper."""
TEMPERATURES = (0.05, 20.0)
_TINY = 1e-30


def calibration_error(confidence: Floats, right: NDArray[np.bool_], weight: Floats, *, bins: int = BINS) -> float:
    """Mean distance between probability and share that is right, over bins of equal width, by weight; 0..1."""
    return float(
        sum(share * abs(mean - hits) for mean, hits, share in reliability(confidence, right, weight, bins=bins))
    )


def reliability(
    confidence: Floats, right: NDArray[np.bool_], weight: Floats, *, bins: int = BINS
) -> list[tuple[float, float, float]]:
    """Mean probability, share that is right and share of the weight of every bin that is not empty."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    sums = [np.bincount(place, weights=weight * each, minlength=bins) for each in (1.0, confidence, right)]
    kept = sums[0] > 0
    total = sums[0].sum()
    return [
        (float(mean / n), float(hits / n), float(n / total))
        for n, mean, hits in zip(*(each[kept] for each in sums), strict=True)
    ]


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """What a softmax over the classes would have given with its scale divided by `temperature`: rows that sum to 1.

    Exact also where other words competed: the ratio of two classes' probabilities does not depend on them.

    Args:
        probabilities: `(n, class)`, up to a factor of each row.
        temperature: above 0; larger ones make it less sure.
    """
    scaled = np.log(np.maximum(probabilities, _TINY)) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(probabilities: Floats, truth: NDArray[np.int64], weight: Floats) -> float:
    """The temperature under which the true classes are most likely.

    Args:
        probabilities: `(n, class)`.
        truth: `(n,)` class of each; -1: none of them, which says nothing about it.
        weight: `(n,)`.
    """
    known = np.flatnonzero(truth >= 0)
    if not len(known):
        return 1.0
    rows, own, share = probabilities[known], truth[known], weight[known] / weight[known].sum()

    def loss(log_temperature: float) -> float:
        found = tempered(rows, float(np.exp(log_temperature)))[np.arange(len(own)), own]
        return -float(share @ np.log(np.maximum(found, 1e-12)))

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x))


def fit_isotonic(confidence: Floats, right: NDArray[np.bool_], weight: Floats) -> tuple[Floats, Floats]:
    """Probabilities, ascending, and the share that is right there: the rising steps nearest to what was seen."""
    values, place = np.unique(confidence, return_inverse=True)
    weights = np.bincount(place, weights=weight)
    shares = np.bincount(place, weights=weight * right) / weights
    return values, np.asarray(isotonic_regression(shares, weights=weights).x)


def isotonic(confidence: Floats, knots: tuple[Floats, Floats]) -> Floats:
    """The share that is right by `fit_isotonic`, linear in between."""
    return np.asarray(np.interp(confidence, *knots))


def f1(score: Floats, chosen: NDArray[np.bool_], true: NDArray[np.bool_], weight: Floats, threshold: float) -> float:
    """F1 of a class that is given where it is the best one and has at least a probability; 0 where there is none."""
    given = chosen & (score >= threshold)
    hits = float(weight[given & true].sum())
    both = float(weight[given].sum() + weight[true].sum())
    return 2 * hits / both if both else 0.0


def fit_threshold(score: Floats, chosen: NDArray[np.bool_], true: NDArray[np.bool_], weight: Floats) -> float:
    """The least probability of a class with the best F1; the smallest of several, 0 if leaving nothing out is best.

    Args:
        score: `(n,)` probability of the class.
        chosen: `(n,)` where it is the best one.
        true: `(n,)` where it is the true one.
        weight: `(n,)`.
    """
    order = np.argsort(-score, kind="stable")
    order = order[chosen[order]]
    if not len(order) or not true.any():
        return 0.0
    given, hits = np.cumsum(weight[order]), np.cumsum(weight[order] * true[order])
    scores = 2 * hits / (given + weight[true].sum())
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # equal ones stay together
    best = ends[len(ends) - 1 - int(np.argmax(np.round(scores[ends][::-1], 12)))]
    if best == len(order) - 1:
        return 0.0
    return float((score[order[best]] + score[order[best + 1]]) / 2)
