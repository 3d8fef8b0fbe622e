"""Calibration against plain loops, a library, and data that are made calibrated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from earthwords.evaluation.metrics.calibration import (
    calibration_error,
    f1,
    fit_isotonic,
    fit_temperature,
    fit_threshold,
    isotonic,
    reliability,
    tempered,
)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def drawn(number: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits of 4 classes, and truths drawn from their softmax."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (number, 4)) + np.array([0.5, 0, -0.5, 0])
    truth = (rng.random(number)[:, None] > softmax(logits).cumsum(axis=1)).sum(axis=1)
    return logits, truth


def test_error_by_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    confidence, weight = rng.random(300), rng.random(300)
    right = rng.random(300) < 0.6 * confidence
    wanted = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & (confidence < low + 1 / 15)
        if inside.any():
            gap = np.average(confidence[inside], weights=weight[inside]) - np.average(
                right[inside], weights=weight[inside]
            )
            wanted += weight[inside].sum() / weight.sum() * abs(gap)
    np.testing.assert_allclose(calibration_error(confidence, right, weight), wanted)
    ends = reliability(np.array([0.0, 1.0, 1.0]), np.array([False, True, False]), np.ones(3))
    assert ends == [(0.0, 0.0, 1 / 3), (1.0, 0.5, 2 / 3)]


def test_a_wrong_scale_is_found() -> None:
    logits, truth = drawn(6000, 2)
    sharp = softmax(2.5 * logits)
    weight = np.ones(len(truth))
    temperature = fit_temperature(sharp, truth, weight)
    assert 2.3 < temperature < 2.7
    np.testing.assert_allclose(tempered(sharp, 2.5), softmax(logits), atol=1e-6)
    before = calibration_error(sharp.max(axis=1), sharp.argmax(axis=1) == truth, weight)
    after = tempered(sharp, temperature)
    assert before > 0.1 and calibration_error(after.max(axis=1), after.argmax(axis=1) == truth, weight) < 0.02


def test_synonyms_make_no_difference() -> None:
    """The best words of classes are what is left where other words took their share."""
    logits, truth = drawn(500, 3)
    shares = softmax(np.concatenate([logits, logits[:, :2] - 0.7], axis=1))[:, :4]
    assert np.median(shares.sum(axis=1)) < 0.85
    np.testing.assert_allclose(tempered(shares, 1.0), softmax(logits), atol=1e-9)
    np.testing.assert_allclose(tempered(shares, 0.4), softmax(logits / 0.4), atol=1e-9)
    weight = np.ones(len(truth))
    assert fit_temperature(shares, truth, weight) == pytest.approx(
        fit_temperature(softmax(logits), truth, weight), rel=1e-7
    )


def test_weights_and_truths_of_other_classes() -> None:
    logits, truth = drawn(3000, 4)
    shares = softmax(1.8 * logits)
    some = np.arange(3000) < 1500
    by_weight = fit_temperature(shares, truth, np.where(some, 1.0, 1e-12))
    np.testing.assert_allclose(by_weight, fit_temperature(shares[some], truth[some], np.ones(1500)), rtol=1e-3)
    unknown = np.where(some, truth, -1)
    np.testing.assert_allclose(fit_temperature(shares, unknown, np.ones(3000)), by_weight, rtol=1e-3)
    assert fit_temperature(shares, np.full(3000, -1), np.ones(3000)) == 1.0


def test_isotonic_is_that_of_a_library() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.integers(0, 40, 250) / 40
    right, weight = rng.random(250) < confidence**2, rng.random(250) + 0.1
    knots = fit_isotonic(confidence, right, weight)
    library = IsotonicRegression().fit(confidence, right, sample_weight=weight)
    at = rng.random(50) * (confidence.max() - confidence.min()) + confidence.min()
    np.testing.assert_allclose(isotonic(at, knots), library.predict(at), atol=1e-12)
    assert (np.diff(knots[1]) >= 0).all()


def test_the_best_threshold() -> None:
    """By trying all of them."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        score = rng.integers(0, 30, 120) / 30
        chosen, weight = rng.random(120) < 0.6, rng.random(120)
        true = rng.random(120) < np.where(chosen, score**2, 0.05)
        found = fit_threshold(score, chosen, true, weight)
        best = max(f1(score, chosen, true, weight, level) for level in (0, *(np.unique(score) + 1e-9)))
        np.testing.assert_allclose(f1(score, chosen, true, weight, found), best)
    assert fit_threshold(np.array([0.3, 0.9]), np.ones(2, bool), np.ones(2, bool), np.ones(2)) == 0, "all are right"
    assert fit_threshold(score, chosen, np.zeros(120, bool), weight) == 0, "there is none"
    assert fit_threshold(np.array([0.2, 0.8]), np.ones(2, bool), np.array([False, True]), np.ones(2)) == 0.5
