"""Intersection over union against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from earthwords.errors import UsageError
from earthwords.evaluation.segmentation import Confusion


def test_scores_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    confusion = Confusion(5)
    truths, found = [], []
    for shape in ((20, 31), (7, 50)):
        truth, prediction = rng.integers(0, 5, shape), rng.integers(0, 4, shape)
        confusion.add(truth, prediction)
        truths.append(truth.ravel())
        found.append(prediction.ravel())
    t, p = np.concatenate(truths), np.concatenate(found)
    assert np.array_equal(confusion.counts, confusion_matrix(t, p, labels=range(5)))
    scores = confusion.scores()
    np.testing.assert_allclose(scores.iou, jaccard_score(t, p, average=None, labels=range(5)))
    assert scores.accuracy == pytest.approx((t == p).mean())
    assert scores.miou == pytest.approx(scores.iou.mean())


def test_ignored_pixels_do_not_count() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 1, 255]]), np.array([[0, 0, 1]]))
    assert confusion.counts.sum() == 2
    assert confusion.scores().accuracy == 0.5


def test_a_pixel_predicted_as_nothing_is_missed() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 255, 1, 1]]))
    np.testing.assert_allclose(confusion.scores().iou, [0.5, 1.0])
    confusion = Confusion(2)
    confusion.add(np.array([[0, 0, 1, 1]]), np.array([[0, 0, -1, 1]]))
    np.testing.assert_allclose(confusion.scores().iou, [1.0, 0.5])


def test_a_true_label_that_is_no_class() -> None:
    with pytest.raises(UsageError, match=r"0\.\.1 or 255: 1\.\.7"):
        Confusion(2).add(np.array([[7, 1]]), np.array([[1, 1]]))


def test_absent_classes_leave_the_mean_alone() -> None:
    confusion = Confusion(3)
    confusion.add(np.array([[0, 1]]), np.array([[0, 1]]))
    assert np.isnan(confusion.scores().iou[2]) and confusion.scores().miou == 1.0
