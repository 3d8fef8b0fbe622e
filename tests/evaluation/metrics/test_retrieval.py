"""Recalls and zero-shot accuracy against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.retrieval import recalls
from earthwords.evaluation.metrics.zeroshot import accuracy


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_recalls_equal_sorting() -> None:
    rng = np.random.default_rng(4)
    images, texts = unit(rng, 23, 6), unit(rng, 69, 6)
    owner = rng.permutation(np.repeat(np.arange(23), 3))
    texts = texts + 0.8 * images[owner]
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    found = recalls(images, texts, owner)
    scores = texts @ images.T
    for k in (1, 5, 10):
        t2i = np.mean([owner[t] in np.argsort(-scores[t])[:k] for t in range(69)])
        i2t = np.mean([bool(set(np.argsort(-scores[:, i])[:k]) & set(np.flatnonzero(owner == i))) for i in range(23)])
        assert abs(found[f"t2i_r{k}"] - 100 * t2i) < 1e-9
        assert abs(found[f"i2t_r{k}"] - 100 * i2t) < 1e-9
    assert 0 < found["t2i_r1"] < found["t2i_r10"] < 100
    mean = np.mean([found[f"{d}_r{k}"] for d in ("i2t", "t2i") for k in (1, 5, 10)])
    assert abs(found["mean_recall"] - mean) < 1e-9


def test_ties_count_as_a_random_order_does() -> None:
    """Vectors of few values, so that many scores are equal; against shuffled sorting, again and again."""
    rng = np.random.default_rng(9)
    images, texts = rng.integers(-1, 2, (14, 3)).astype(float), rng.integers(-1, 2, (28, 3)).astype(float)
    owner = rng.permutation(np.repeat(np.arange(14), 2))
    found, scores = recalls(images, texts, owner), texts @ images.T
    hits = {key: [] for key in found}
    for _ in range(1500):
        noisy = scores + rng.uniform(0, 0.4, scores.shape)
        by_text, by_image = np.argsort(-noisy, axis=1), np.argsort(-noisy, axis=0)
        for k in (1, 5, 10):
            hits[f"t2i_r{k}"].append((by_text[:, :k] == owner[:, None]).any(axis=1).mean())
            hits[f"i2t_r{k}"].append((owner[by_image[:k]] == np.arange(14)).any(axis=0).mean())
    for key, values in hits.items():
        if values:
            assert abs(found[key] - 100 * np.mean(values)) < 0.6, key


def test_vectors_that_say_nothing_find_nothing() -> None:
    found = recalls(np.ones((50, 4)), np.ones((50, 4)), np.arange(50))
    assert abs(found["i2t_r5"] - 10) < 1e-9 and abs(found["t2i_r1"] - 2) < 1e-9
    with pytest.raises(UsageError, match="NaN"):
        recalls(np.full((5, 4), np.nan), np.ones((5, 4)), np.arange(5))


def test_accuracy() -> None:
    words = np.eye(3)
    images = np.array([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8], [0, 0.9, 0.1]])
    assert accuracy(images, words, np.array([0, 1, 2, 2])) == 0.75
