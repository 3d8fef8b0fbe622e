"""Logits to classes, against a plain computation pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from earthwords.inference.segment.postprocess import class_probabilities, decide

QUERY_CLASS = np.array([0, 0, 0, 1, 2, 2])


def logits(seed: int = 0) -> np.ndarray:
    """`(query, 7, 5)` cosines."""
    return np.random.default_rng(seed).uniform(-0.2, 0.4, (len(QUERY_CLASS), 7, 5)).astype(np.float32)


def plain(values: np.ndarray, query_class: np.ndarray, scale: float) -> np.ndarray:
    """Softmax over queries and the best synonym, one pixel at a time, in double precision."""
    classes = query_class.max() + 1
    out = np.zeros((classes, *values.shape[1:]))
    for row, col in np.ndindex(values.shape[1:]):
        powers = np.exp(scale * values[:, row, col].astype(np.float64))
        share = powers / powers.sum()
        for label in range(classes):
            out[label, row, col] = max(share[query_class == label])
    return out


@pytest.mark.parametrize("scale", [1.0, 50.0, 100.0])
def test_softmax_over_queries_then_the_best_synonym(scale: float) -> None:
    values = logits()
    found = class_probabilities(torch.from_numpy(values), torch.from_numpy(QUERY_CLASS), logit_scale=scale)
    assert found.shape == (3, 7, 5)
    np.testing.assert_allclose(found.numpy(), plain(values, QUERY_CLASS, scale), rtol=2e-5, atol=1e-7)


def test_without_synonyms_probabilities_add_up_to_one() -> None:
    values = logits(1)
    found = class_probabilities(torch.from_numpy(values), torch.arange(6))
    np.testing.assert_allclose(found.numpy(), plain(values, np.arange(6), 50.0), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(found.sum(dim=0).numpy(), 1, rtol=1e-5)


def test_large_logits_do_not_overflow() -> None:
    values = torch.tensor([[[4.0]], [[3.9]], [[-4.0]]])
    found = class_probabilities(values, torch.tensor([0, 1, 1]), logit_scale=1000.0)
    np.testing.assert_allclose(found[:, 0, 0].numpy(), [1.0, 0.0], atol=1e-6)


def test_the_most_probable_class_wins() -> None:
    probabilities = torch.from_numpy(plain(logits(2), QUERY_CLASS, 50.0))
    labels, score = decide(probabilities)
    assert len(np.unique(labels.numpy())) == 3
    np.testing.assert_array_equal(labels.numpy(), probabilities.numpy().argmax(axis=0))
    np.testing.assert_array_equal(score.numpy(), probabilities.numpy().max(axis=0))


def test_below_the_threshold_lies_the_background() -> None:
    probabilities = torch.tensor([[[0.6, 0.2]], [[0.3, 0.5]], [[0.1, 0.3]]])
    labels, score = decide(probabilities, threshold=0.55, background=2)
    assert labels.tolist() == [[0, 2]]
    np.testing.assert_allclose(score.numpy(), [[0.6, 0.5]])


def test_a_score_equal_to_the_threshold_is_kept() -> None:
    labels, _ = decide(torch.tensor([[[0.25]], [[0.5]]]), threshold=0.5, background=255)
    assert labels.tolist() == [[1]]


def test_classes_may_have_thresholds_of_their_own() -> None:
    probabilities = torch.tensor([[[0.6, 0.4, 0.2]], [[0.3, 0.5, 0.7]], [[0.1, 0.1, 0.1]]])
    labels, _ = decide(probabilities, threshold=torch.tensor([0.7, 0.5, 0.0]), background=9)
    assert labels.tolist() == [[9, 1, 1]]
    labels, _ = decide(probabilities, threshold=torch.tensor([0.5, 0.6, 0.9]), background=9)
    assert labels.tolist() == [[0, 9, 1]]
