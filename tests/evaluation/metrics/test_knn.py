"""The vote of neighbours against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from earthwords.errors import UsageError
from earthwords.evaluation.metrics import knn
from tests.evaluation.clouds import cloud


@pytest.mark.parametrize("k", [1, 7, 20, 1000])
def test_as_scikit_learn_votes(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_SCORES", 500)  # many chunks
    made = cloud(spread=0.8)
    train, test = made.known(np.arange(55)), made.known(np.arange(55, 76))
    oracle = KNeighborsClassifier(
        min(k, 55), metric="cosine", weights=lambda distance: np.exp((1 - distance) / knn.TEMPERATURE)
    )
    oracle.fit(train.vectors.astype(np.float64), train.labels)
    scores = knn.vote(test.vectors, train.vectors, train.labels, classes=5, k=k)
    assert scores.shape == (21, 5) and (scores[:, 4] == 0).all(), "a class that was never seen"
    expected = oracle.predict_proba(test.vectors.astype(np.float64))
    np.testing.assert_allclose(scores[:, :4] / scores.sum(axis=1, keepdims=True), expected, atol=1e-5)
    assert np.array_equal(scores.argmax(axis=1), oracle.predict(test.vectors))


def test_neighbours_equal_sorting_and_the_earlier_of_equals_comes_first() -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(-1, 2, (30, 3)).astype(float)  # many equal cosines
    index, cosine = knn.neighbours(images[:11], images, 6)
    scores = images[:11] @ images.T
    assert np.array_equal(index, np.argsort(-scores, axis=1, kind="stable")[:, :6])
    np.testing.assert_array_equal(cosine, np.take_along_axis(scores, index, axis=1))
    alone, _ = knn.neighbours(images, images, 40, themselves=True)
    assert alone.shape == (30, 29) and not (alone == np.arange(30)[:, None]).any()


def test_impossible_votes() -> None:
    made = cloud()
    for wrong in ({"k": 0}, {"temperature": 0.0}):
        with pytest.raises(UsageError, match="above 0"):
            knn.vote(made.images, made.images, made.labels, classes=4, **wrong)
    with pytest.raises(UsageError, match="at least one image"):
        knn.vote(made.images, made.images[:0], made.labels[:0], classes=4)
