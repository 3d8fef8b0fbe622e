"""Intersection over union against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.segmentation import Confusion, ThresholdConfusion


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


def plain(truths: list[np.ndarray], found: list[np.ndarray], classes: int) -> dict[str, np.ndarray]:
    """mmsegmentation's sums and quotients, pixel sets written out, no confusion matrix."""
    common, true, predicted = (np.zeros(classes) for _ in range(3))
    for truth, prediction in zip(truths, found, strict=True):
        for label in range(classes):
            is_true, is_found = (truth == label) & (truth != 255), (prediction == label) & (truth != 255)
            common[label] += (is_true & is_found).sum()
            true[label] += is_true.sum()
            predicted[label] += is_found.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = common / predicted, common / true
        return {
            "iou": common / (true + predicted - common),
            "recall": recall,
            "precision": precision,
            "fscore": 2 * (precision * recall) / (precision + recall),
            "dice": 2 * common / (predicted + true),
            "accuracy": common.sum() / true.sum(),
        }


@pytest.fixture
def images() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Seven classes: 4 is only true, 5 only predicted (on class 4), 6 nowhere; ignored pixels; an empty image."""
    rng = np.random.default_rng(7)
    truths = [rng.choice([0, 1, 2, 3, 4, 255], shape) for shape in ((31, 17), (8, 40), (5, 6))]
    found = [rng.integers(0, 4, truth.shape) for truth in truths]
    for truth, prediction in zip(truths, found, strict=True):
        prediction[(truth == 4) & (rng.random(truth.shape) < 0.5)] = 5
        prediction[rng.random(truth.shape) < 0.05] = 200
    truths[2][:] = 255
    return truths, found


def test_scores_are_those_of_an_independent_implementation(images: tuple[list, list]) -> None:
    confusion = Confusion(7)
    for truth, prediction in zip(*images, strict=True):
        confusion.add(truth, prediction)
    scores, expected = confusion.scores(), plain(*images, 7)
    for name in ("iou", "recall", "precision", "fscore", "dice"):
        np.testing.assert_allclose(getattr(scores, name), expected[name], rtol=0, atol=1e-12, equal_nan=True)
    assert scores.accuracy == pytest.approx(expected["accuracy"], abs=1e-12)
    means = {"miou": "iou", "macc": "recall", "mfscore": "fscore", "mdice": "dice"}
    for name, of in means.items():
        assert getattr(scores, name) == pytest.approx(np.nanmean(expected[of]), abs=1e-12)
    assert np.isnan(scores.iou).tolist() == [False] * 6 + [True]
    assert np.isnan(scores.recall).tolist() == [False] * 5 + [True, True]
    assert np.isnan(scores.fscore).tolist() == [False] * 4 + [True, True, True]
    assert scores.foreground_iou() == pytest.approx(np.nanmean(expected["iou"][1:]), abs=1e-12)
    zeros = confusion.scores(absent=0.0)
    assert zeros.miou == pytest.approx(np.nan_to_num(expected["iou"]).mean(), abs=1e-12)
    assert zeros.mfscore == pytest.approx(np.nan_to_num(expected["fscore"]).mean(), abs=1e-12)


def test_images_add_up_in_any_order(images: tuple[list, list]) -> None:
    whole, parts = Confusion(7), Confusion(7)
    for truth, prediction in zip(*images, strict=True):
        whole.add(truth, prediction)
    for truth, prediction in reversed(list(zip(*images, strict=True))):
        each = Confusion(7)
        each.add(truth, prediction)
        assert parts.merge(each) is parts
    assert np.array_equal(whole.counts, parts.counts) and np.array_equal(whole.missed, parts.missed)
    with pytest.raises(UsageError, match="7 and 3 classes"):
        whole.merge(Confusion(3))


def test_without_a_pixel_nothing_is_known() -> None:
    confusion = Confusion(2)
    confusion.add(np.full((3, 4), 255), np.zeros((3, 4), int))
    confusion.add(np.zeros((0, 4), int), np.zeros((0, 4), int))
    scores = confusion.scores()
    assert all(map(np.isnan, (scores.miou, scores.macc, scores.mfscore, scores.accuracy, scores.foreground_iou())))
    assert confusion.scores(absent=0.0).accuracy == 0.0


def test_f_of_a_class_never_hit_is_no_number_as_in_mmsegmentation() -> None:
    confusion = Confusion(2)
    confusion.add(np.array([[0, 1, 1]]), np.array([[1, 0, 0]]))
    scores = confusion.scores()
    assert scores.miou == 0 and scores.mdice == 0 and np.isnan(scores.mfscore)


def test_maps_of_different_shapes() -> None:
    with pytest.raises(UsageError, match=r"\(1, 2\) pixels, the prediction \(2, 1\)"):
        Confusion(2).add(np.zeros((1, 2), int), np.zeros((2, 1), int))


@pytest.mark.parametrize("background", [0, 3, None])
def test_thresholds_in_one_pass_are_those_of_single_runs(images: tuple[list, list], background: int | None) -> None:
    rng = np.random.default_rng(3)
    levels = [0.7, 0.0, 0.25, 0.3, 1.0]
    many = ThresholdConfusion(7, levels, background=background)
    single = {level: Confusion(7) for level in levels}
    for truth, best in zip(*images, strict=True):
        probability = rng.choice(np.array([0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0], np.float32), truth.shape)
        part = ThresholdConfusion(7, levels, background=background)
        part.add(truth, best, probability)
        many.merge(part)
        for level, confusion in single.items():
            below = (probability < np.float32(level)) & (best < 7)
            confusion.add(truth, np.where(below, 255 if background is None else background, best))
    assert list(many.confusions()) == levels
    for level, confusion in many.confusions().items():
        assert np.array_equal(confusion.counts, single[level].counts), level
        assert np.array_equal(confusion.missed, single[level].missed), level
    assert many.at(0.0).scores().miou != many.at(0.7).scores().miou


def test_thresholds_that_make_no_sense() -> None:
    for bad in ({"thresholds": [], "background": 0}, {"thresholds": [float("nan")], "background": 0}):
        with pytest.raises(UsageError, match="finite numbers"):
            ThresholdConfusion(2, **bad)
    with pytest.raises(UsageError, match="Background 2 is not a class"):
        ThresholdConfusion(2, [0.5], background=2)
    counted = ThresholdConfusion(2, [0.5], background=0)
    with pytest.raises(UsageError, match=r"threshold 0\.4; known: \[0\.5\]"):
        counted.at(0.4)
    with pytest.raises(UsageError, match="different classes"):
        counted.merge(ThresholdConfusion(2, [0.4], background=0))
