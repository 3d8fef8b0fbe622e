"""Linear probe: logistic regression on the examples' features alone, its strength searched for as in
https://github.com/FereshteShakeri/FewShot-CLIP-Strong-Baseline."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from earthwords.models.fewshot.linear_head import SCALE, Labelled, LinearHead, ShotSet, accuracy

Array = NDArray[Any]

GRID = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
ROUNDS = 8
UNCHOSEN = 100.0
"""C where no images are there to choose it with."""
ITERATIONS = 1000


def logistic_regression(
    features: Array,
    labels: NDArray[np.integer],
    *,
    classes: int,
    weight_decay: float,
    weights: Array | None = None,
    start: Array | None = None,
    options: dict[str, Any] | None = None,
) -> tuple[Array, Array]:
    """The minimum of mean cross-entropy + `weight_decay` / 2 |W|^2 (the bias is free), by L-BFGS in float64.

    The same as scikit-learn's `LogisticRegression(C=1 / (weight_decay * n))`.

    Args:
        weights: `(n,)` of mean 1.
        start: `(class, dim + 1)`, the bias last; None: 0.
        options: of scipy's L-BFGS-B, over ours.

    Returns:
        Weights `(class, dim)` and bias `(class,)`.
    """
    x = np.asarray(features, np.float64)
    count, dim = x.shape
    truth = np.zeros((count, classes))
    truth[np.arange(count), labels] = 1
    each = (np.ones(count) if weights is None else np.asarray(weights, np.float64)) / count

    def loss(flat: Array) -> tuple[float, Array]:
        weight, bias = flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]
        logits = x @ weight.T + bias
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        total = powers.sum(axis=1, keepdims=True)
        value = each @ (np.log(total[:, 0]) - logits[np.arange(count), labels]) + weight_decay / 2 * (weight**2).sum()
        slope = (powers / total - truth) * each[:, None]
        return float(value), np.concatenate([(slope.T @ x + weight_decay * weight).ravel(), slope.sum(axis=0)])

    first = np.zeros(classes * (dim + 1)) if start is None else np.concatenate([start[:, :-1].ravel(), start[:, -1]])
    settings = {"maxiter": ITERATIONS, "gtol": 1e-6, "ftol": 1e-10, "maxcor": 20, **(options or {})}
    flat = minimize(loss, first, jac=True, method="L-BFGS-B", options=settings).x
    return flat[: classes * dim].reshape(classes, dim), flat[classes * dim :]


AS_PUBLISHED = {"gtol": 1e-4, "ftol": 64 * float(np.finfo(np.float64).eps), "maxls": 50, "maxcor": 10}
"""Where scikit-learn's solver stops, which the search below rests on: almost unregularised, it does not converge."""


def search_strength(judge: Callable[[float], float]) -> tuple[float, list[float]]:
    """The C of the published search, and all it tried: seven of a grid, then `ROUNDS` pairs about the first best.

    Args:
        judge: accuracy of the fit with a C; every C is fitted anew, so results may be kept.
    """
    tried = list(GRID)
    found = [judge(strength) for strength in GRID]
    peak = GRID[int(np.argmax(found))]
    left, right = peak / 10, peak * 10
    for _ in range(ROUNDS):
        tried += [left, right]
        lower, upper = judge(left), judge(right)
        best = left if lower >= upper else right
        if lower < upper:
            left = math.sqrt(left * right)
        else:
            right = math.sqrt(left * right)
    return best, tried


def fit_linear_probe(
    shots: ShotSet,
    *,
    validation: Labelled | None = None,
    scale: float = SCALE,
    seed: int = 0,
) -> LinearHead:
    """Logistic regression; C is searched for on `validation`, if there is any.

    Words and `scale` are not read, and nothing is drawn.
    """
    x, y, each = shots.features.cpu().numpy(), shots.labels.cpu().numpy(), shots.weights.cpu().numpy()
    fits: dict[float, LinearHead] = {}

    def fit(strength: float) -> LinearHead:
        if strength not in fits:
            weight, bias = logistic_regression(
                x, y, classes=shots.classes, weight_decay=1 / (strength * len(x)), weights=each, options=AS_PUBLISHED
            )
            made = (torch.from_numpy(part).float().to(shots.features.device) for part in (weight, bias))
            fits[strength] = LinearHead(weight=next(made), bias=next(made))
        return fits[strength]

    if validation is None:
        return fit(UNCHOSEN)
    chosen, _ = search_strength(lambda strength: accuracy(fit(strength).logits(validation[0]), validation[1]))
    return fit(chosen)
