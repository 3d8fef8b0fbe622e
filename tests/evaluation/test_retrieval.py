"""Recalls and zero-shot accuracy against a plain loop."""

from __future__ import annotations

import numpy as np

from earthwords.evaluation.retrieval import recalls
from earthwords.evaluation.zeroshot import accuracy


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
        assert found[f"t2i_r{k}"] == 100 * t2i
        assert found[f"i2t_r{k}"] == 100 * i2t
    assert 0 < found["t2i_r1"] < found["t2i_r10"] < 100
    assert found["mean_recall"] == np.mean([found[f"{d}_r{k}"] for d in ("i2t", "t2i") for k in (1, 5, 10)])


def test_accuracy() -> None:
    words = np.eye(3)
    images = np.array([[1, 0, 0], [0, 1, 0], [0, 0.6, 0.8], [0, 0.9, 0.1]])
    assert accuracy(images, words, np.array([0, 1, 2, 2])) == 0.75
