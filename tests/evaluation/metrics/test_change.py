"""Figures of change, against scikit-learn and formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, jaccard_score

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.change import (
    ChangeCounts,
    SemanticChangeCounts,
    binary,
    cohens_kappa,
    either_date,
)


def test_pooled_over_pairs_of_any_size() -> None:
    rng = np.random.default_rng(1)
    counts, found, truth = ChangeCounts(), [], []
    for shape in ((13, 17), (20, 9)):
        pair = rng.random(shape) > 0.7, rng.random(shape) > 0.6
        counts.add(*pair)
        found.append(pair[0].ravel())
        truth.append(pair[1].ravel())
    true, said = np.concatenate(truth), np.concatenate(found)
    figures = counts.figures()
    assert figures["f1_score_change"] == pytest.approx(f1_score(true, said), abs=1e-6)
    assert figures["iou_change"] == pytest.approx(jaccard_score(true, said), abs=1e-6)
    assert figures["iou_nochange"] == pytest.approx(jaccard_score(~true, ~said), abs=1e-6)
    assert figures["oa"] == pytest.approx((true == said).mean(), abs=1e-6)
    assert figures["kappa"] == pytest.approx(cohen_kappa_score(true, said))


def test_pixels_that_do_not_count_and_sizes() -> None:
    truth = np.zeros((4, 6), bool)
    truth[:, 3:] = True
    kept = np.ones(truth.shape, bool)
    kept[2:] = False
    counts = ChangeCounts()
    counts.add(~truth, truth, counts=kept)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (0, 6, 6, 0)
    with pytest.raises(UsageError, match="same pixels"):
        counts.add(truth, truth[1:])
    assert set(ChangeCounts().figures().values()) == {0.0}


def test_half_of_grey() -> None:
    assert binary(np.array([127, 128, 255], np.uint8)).tolist() == [False, True, True]
    assert binary(np.array([76, 77], np.uint8), 0.3).tolist() == [False, True]
    assert either_date(np.array([0, 2, 5]), np.array([5, 2, 0]), 5).tolist() == [True, False, True]


def test_semantic_change_written_out() -> None:
    """Three classes, both dates; what SECOND's and Bi-SRNet's papers write, on a table by hand."""
    rng = np.random.default_rng(7)
    counts = SemanticChangeCounts(classes=3)
    table = np.zeros((4, 4))
    for _ in range(2):
        truth, found = rng.integers(0, 4, (15, 19)), rng.integers(0, 4, (15, 19))
        truth[:8], found[:9] = 0, 0
        counts.add(found, truth)
        for i in range(4):
            for j in range(4):
                table[i, j] += ((truth == i) & (found == j)).sum()
    figures = counts.figures()
    both, total = table[1:, 1:].sum(), table.sum()
    iou = [table[0, 0] / (total - both), both / (total - table[0, 0])]
    only = table.copy()
    only[0, 0] = 0
    agreed, chance = np.trace(only) / only.sum(), (only.sum(0) * only.sum(1)).sum() / only.sum() ** 2
    sek = (agreed - chance) / (1 - chance) * math.exp(iou[1]) / math.e
    right = np.trace(table[1:, 1:])
    precision, recall = right / table[:, 1:].sum(), right / table[1:].sum()
    assert figures["miou"] == pytest.approx(np.mean(iou))
    assert figures["sek"] == pytest.approx(sek)
    assert figures["fscd"] == pytest.approx(2 / (1 / precision + 1 / recall))
    assert figures["score"] == pytest.approx(0.3 * np.mean(iou) + 0.7 * sek)


def test_all_right_and_nothing() -> None:
    labels = np.array([[0, 1, 2], [2, 0, 1]])
    counts = SemanticChangeCounts(classes=2)
    counts.add(labels, labels)
    assert counts.figures() == pytest.approx({"miou": 1, "sek": 1, "fscd": 1, "score": 1})
    assert set(SemanticChangeCounts(classes=2).figures().values()) == {0.0}
    with pytest.raises(UsageError, match="their truth"):
        counts.add(labels, labels.T)


def test_kappa_of_chance_and_of_one_class() -> None:
    assert cohens_kappa(np.array([[25, 25], [25, 25]])) == 0
    assert cohens_kappa(np.array([[9, 0], [0, 0]])) == 0
    assert cohens_kappa(np.array([[9, 0], [0, 4]])) == 1
