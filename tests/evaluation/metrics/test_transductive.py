"""RS-TransCLIP's solver: against the equations written as loops, and what must hold whatever the data."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.transductive import neighbour_graph, transduce, word_probabilities
from earthwords.evaluation.metrics.zeroshot import ensemble, measure, unit
from tests.evaluation.clouds import cloud

MADE = cloud((40, 13, 26, 18), dim=10, spread=0.35, words=0.8, seed=11)
WORDS = ensemble(MADE.texts, "normalised")
SCALE = 5.0
"""Cosines differ more here than those of CLIP's words."""
FOUND = transduce(MADE.images, word_probabilities(MADE.images @ WORDS.T, SCALE))


def by_loops(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The specification, element by element in float64."""
    (n, d), k = x.shape, y.shape[1]
    cosines = x @ x.T
    w = np.zeros((n, n))
    for i in range(n):
        others = [j for j in np.argsort(-cosines[i]) if j != i][:3]
        w[i, others] = cosines[i, others]
    z = y.copy()
    mu = np.zeros((k, d))
    for c in range(k):
        for i in np.argsort(-y[:, c])[:8]:
            mu[c] += y[i, c] * x[i]
        mu[c] /= np.linalg.norm(mu[c])
    sigma = np.full(d, 1 / d)
    for step in range(11):
        g = np.array([[-0.5 * ((x[i] - mu[c]) ** 2 / sigma).sum() for c in range(k)] for i in range(n)])
        for _ in range(5):
            a = g + 50 / 6 * (w.T @ z + w @ z)
            a -= a.max(axis=1, keepdims=True)
            z = y * np.exp(a / 50)
            z /= z.sum(axis=1, keepdims=True)
        if step == 10:
            break
        for c in range(k):
            mu[c] = (z[:, c] @ x) / z[:, c].sum()
            mu[c] /= np.linalg.norm(mu[c])
        sigma = sum(z[i, c] * (x[i] - mu[c]) ** 2 for i in range(n) for c in range(k)) / z.sum()
    return z, mu, sigma


def test_equals_the_specification() -> None:
    z, mu, sigma = by_loops(MADE.images.astype(float), FOUND.initial)
    np.testing.assert_allclose(FOUND.assignment, z, atol=1e-6)
    np.testing.assert_allclose(FOUND.means, mu, atol=1e-6)
    np.testing.assert_allclose(FOUND.variance, sigma, rtol=1e-5)


def shots_by_loops(x: np.ndarray, y: np.ndarray, known: np.ndarray, gamma: float) -> np.ndarray:
    """The few-shot extension, element by element: examples keep their class; gamma * 50 / |S| against 1 / N."""
    (n, d), k = x.shape, y.shape[1]
    shots, queries = np.flatnonzero(known >= 0), np.flatnonzero(known < 0)
    cosines = x @ x.T
    w = np.zeros((n, n))
    for i in range(n):
        others = [j for j in np.argsort(-cosines[i]) if j != i][:3]
        w[i, others] = cosines[i, others]
    z = y.copy()
    for i in shots:
        z[i] = np.eye(k)[known[i]]
    share = np.where(known >= 0, gamma * 50 / len(shots), 1 / len(queries))
    mu = np.array([x[known == c].mean(axis=0) for c in range(k)])
    mu /= np.linalg.norm(mu, axis=1, keepdims=True)
    sigma = np.full(d, 1 / d)
    for step in range(11):
        for _ in range(5):
            new = z.copy()
            for i in queries:
                a = np.array([-0.5 * ((x[i] - mu[c]) ** 2 / sigma).sum() for c in range(k)])
                a = a + 50 / 6 * (w[:, i] @ z + w[i] @ z)
                new[i] = y[i] ** 0.5 * np.exp((a - a.max()) / 50)
                new[i] /= new[i].sum()
            z = new
        if step == 10:
            break
        for c in range(k):
            mu[c] = sum(share[i] * z[i, c] * x[i] for i in range(n))
            mu[c] /= np.linalg.norm(mu[c])
        total = sum(share[i] * z[i, c] for i in range(n) for c in range(k))
        sigma = sum(share[i] * z[i, c] * (x[i] - mu[c]) ** 2 for i in range(n) for c in range(k)) / total
    return z


def test_examples_take_part_as_the_extension_says() -> None:
    rows = np.arange(0, 97, 2)
    x, y, labels = MADE.images[rows].astype(float), FOUND.initial[rows], MADE.labels[rows]
    known = np.full(len(rows), -1)
    for c in range(4):
        known[np.flatnonzero(labels == c)[:2]] = c
    for gamma in (0.002, 0.2):
        found = transduce(x, y, known=known, gamma=gamma)
        np.testing.assert_allclose(found.assignment, shots_by_loops(x, y, known, gamma), atol=1e-6)
        assert found.assignment[known >= 0].argmax(axis=1).tolist() == known[known >= 0].tolist()
    again = transduce(x, y, known=known, gamma=0.2, graph=neighbour_graph(x))
    np.testing.assert_array_equal(again.assignment, found.assignment)
    none = transduce(x, y, known=np.full(len(rows), -1))
    np.testing.assert_array_equal(none.assignment, transduce(x, y).assignment)


def test_it_helps_where_words_lie_beside_their_images() -> None:
    before, after = (measure(z, MADE.labels).top1 for z in (FOUND.initial, FOUND.assignment))
    assert 60 < before < after - 3


def test_rows_are_probabilities_and_the_words_stay_as_they_were() -> None:
    first = FOUND.initial.copy()
    found = transduce(MADE.images, first)
    np.testing.assert_allclose(found.assignment.sum(axis=1), 1)
    assert np.array_equal(first, FOUND.initial) and found.initial is first
    np.testing.assert_allclose(np.linalg.norm(found.means, axis=1), 1)


def test_neither_the_order_of_images_nor_that_of_classes_matters() -> None:
    rng = np.random.default_rng(0)
    images, classes = rng.permutation(len(MADE.images)), rng.permutation(4)
    found = transduce(MADE.images[images], FOUND.initial[images][:, classes])
    np.testing.assert_allclose(found.assignment, FOUND.assignment[images][:, classes], atol=1e-9)
    np.testing.assert_allclose(found.means, FOUND.means[classes], atol=1e-9)


def test_a_class_that_no_image_shows_keeps_its_column() -> None:
    words = np.concatenate([WORDS[:2], -unit(WORDS.sum(axis=0))[None], WORDS[2:]])
    found = transduce(MADE.images, word_probabilities(MADE.images @ words.T, SCALE))
    assert found.assignment.shape == (97, 5) and np.isfinite(found.assignment).all()
    before, after = ((z.argmax(axis=1) == 2).sum() for z in (found.initial, found.assignment))
    assert after <= before
    hard = np.zeros((97, 5))
    hard[np.arange(97), MADE.labels] = 1  # column 4 has no mass at all
    assert np.array_equal(transduce(MADE.images, hard).assignment, hard)


def test_duplicates_are_each_others_neighbours() -> None:
    twice = np.concatenate([MADE.images, MADE.images])
    found = transduce(twice, np.concatenate([FOUND.initial, FOUND.initial]))
    assert np.isfinite(found.assignment).all()
    np.testing.assert_allclose(found.assignment[:97], found.assignment[97:], atol=0.05)


def test_few_images() -> None:
    assert np.isfinite(transduce(MADE.images[:2], FOUND.initial[:2]).assignment).all()
    assert np.isfinite(transduce(MADE.images[[0, 0, 0]], FOUND.initial[[0, 0, 0]]).assignment).all()
    with pytest.raises(UsageError, match="at least 2 images"):
        transduce(MADE.images[:1], FOUND.initial[:1])
    with pytest.raises(UsageError, match="a row for each"):
        transduce(MADE.images[:5], FOUND.initial[:4])
