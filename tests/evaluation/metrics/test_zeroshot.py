"""Ensembles, and figures of a classification."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.zeroshot import accuracy, ensemble, measure, measure_labels, unit
from tests.evaluation.clouds import SIZES, cloud


def test_figures_equal_counting() -> None:
    made = cloud(spread=0.9)
    scores = made.images @ ensemble(made.texts).T
    found, guess = measure(scores, made.labels), scores.argmax(axis=1)
    assert found.top1 == pytest.approx(100 * accuracy(made.images, ensemble(made.texts), made.labels))
    assert 0 < found.top1 < 100 and found.top5 is None
    for label, size in enumerate(SIZES):
        own = guess[made.labels == label]
        assert found.per_class[label] == pytest.approx(100 * (own == label).mean())
        assert found.confusion[label].sum() == size
        assert found.confusion[label].tolist() == [int((own == other).sum()) for other in range(4)]
    assert found.mean_per_class != pytest.approx(found.top1), "the sizes differ"


def test_top_five_of_seven_classes_and_a_class_without_images() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal((40, 7)), rng.integers(0, 6, 40)
    found = measure(scores, labels)
    expected = np.mean([labels[i] in np.argsort(-scores[i])[:5] for i in range(40)])
    assert found.top5 == pytest.approx(100 * expected)
    assert np.isnan(found.per_class[6]) and not np.isnan(found.mean_per_class)
    assert found.as_json()["per_class"][6] is None


def test_of_equal_scores_the_first_class_counts() -> None:
    found = measure(np.zeros((6, 6)), np.arange(6))
    assert found.top1 == pytest.approx(100 / 6) and found.top5 == pytest.approx(500 / 6)


def test_ensembles() -> None:
    texts = np.array([[[3.0, 0.0]], [[0.0, 1.0]]])
    np.testing.assert_allclose(ensemble(texts, "raw"), [[3 / np.sqrt(10), 1 / np.sqrt(10)]], rtol=1e-6)
    np.testing.assert_allclose(ensemble(texts, "normalised"), [[np.sqrt(0.5)] * 2], rtol=1e-6)
    with pytest.raises(UsageError, match="Did you mean 'raw'"):
        ensemble(texts, "rw")


def test_half_precision_becomes_float_before_it_is_normalised() -> None:
    rng = np.random.default_rng(1)
    half = rng.standard_normal((5, 512)).astype(np.float16)
    assert unit(half).dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(unit(half), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_vectors_that_point_nowhere(wrong: float) -> None:
    with pytest.raises(UsageError, match="point nowhere"):
        unit(np.full((2, 3), wrong))


def test_nothing_to_classify() -> None:
    with pytest.raises(UsageError, match="no image"):
        measure_labels(np.empty(0, int), np.empty(0, int), 3)
    with pytest.raises(UsageError, match="True labels"):
        measure_labels(np.array([0]), np.array([3]), 3)
