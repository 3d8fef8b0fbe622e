"""Which head is taken, and by what figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from earthwords.errors import UsageError
from earthwords.inference.teach.choice import (
    Candidate,
    Lessons,
    area_shares,
    candidates,
    choose,
    fit,
    folds_of,
    logits_of,
    map_iou,
)
from earthwords.models.fewshot.anchored import class_logits, fit_anchored

WORDS = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2, 0, 0], [0.9, -0.3, 0.1, 0], [0, 0, 1, 0.1]]), dim=1)
QUERY_CLASS = torch.tensor([0, 0, 1])


def _lessons(*, signal: float, seed: int = 0, each: int = 30, word_signal: float = 0.0) -> Lessons:
    """Two classes that differ along the last axis by `signal`, and along the words by `word_signal`."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], each)
    x = rng.normal(size=(2 * each, 4)) * 0.3
    x[:, 3] += signal * (labels * 2 - 1)
    x[:, 0] -= word_signal * (labels * 2 - 1)
    x[:, 2] += word_signal * (labels * 2 - 1)
    around = rng.normal(size=(400, 4)) * 0.3
    common = rng.random(400) < 0.2
    around[:, 3] += signal * (common * 2 - 1)
    around[:, 0] -= word_signal * (common * 2 - 1)
    around[:, 2] += word_signal * (common * 2 - 1)
    return Lessons(
        features=torch.from_numpy(x).float(), labels=torch.from_numpy(labels), places=np.arange(2 * each) // 3,
        weights=torch.ones(2 * each), words=WORDS, query_class=QUERY_CLASS, scale=10.0,
        around=torch.from_numpy(around).float(),
    )  # fmt: skip


def test_a_strong_pull_is_the_words_alone() -> None:
    lessons = _lessons(signal=1)
    head = fit(lessons, Candidate(head="anchored", strength=1e6))
    words = fit(lessons, Candidate(head="words"))
    torch.testing.assert_close(logits_of(lessons, head), logits_of(lessons, words), atol=1e-3, rtol=0)
    expected = class_logits(10 * lessons.features @ WORDS.T, QUERY_CLASS, 2)
    torch.testing.assert_close(logits_of(lessons, words), expected)


def test_the_anchored_head_is_the_minimum_of_its_loss() -> None:
    """Against scipy, with unequal weights and classes of unequal size."""
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(17, 4)), np.array([0] * 11 + [1] * 6)
    weights, strength, scale = rng.random(17) + 0.2, 0.3, 5.0
    words = WORDS.numpy().astype(float)
    fixed = np.stack([(scale * x @ words[:2].T).max(axis=1), scale * x @ words[2]], axis=1)
    share = np.where(labels == 0, weights / weights[labels == 0].sum(), weights / weights[labels == 1].sum()) / 2

    def loss(flat: np.ndarray) -> float:
        change, bias = flat[:8].reshape(2, 4), flat[8:]
        logits = fixed + x @ change.T + bias
        log = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return float(-(share * log[np.arange(17), labels]).sum() + strength / 2 * (flat**2).sum())

    best = minimize(loss, np.zeros(10), tol=1e-10)
    weight, bias = fit_anchored(
        torch.from_numpy(x).float(), torch.from_numpy(labels), WORDS, QUERY_CLASS, scale=scale, strength=strength,
        weights=torch.from_numpy(weights),
    )  # fmt: skip
    change = weight.numpy() - scale * WORDS.numpy()
    np.testing.assert_allclose(change[[0, 2]], best.x[:8].reshape(2, 4), atol=2e-3)
    np.testing.assert_allclose(change[1], change[0], atol=1e-5)
    np.testing.assert_allclose(bias.numpy()[[0, 2]], best.x[8:], atol=2e-3)


def test_a_class_without_marks_keeps_its_words() -> None:
    lessons = _lessons(signal=1)
    three = torch.cat([WORDS, torch.tensor([[0, 0.0, 0, 1]])])
    weight, _ = fit_anchored(lessons.features, lessons.labels, three, torch.tensor([0, 0, 1, 2]), scale=10, strength=1)
    assert float(weight[3] @ three[3]) < 10, "its logits are pushed down where others are marked"
    assert float(weight[3] @ three[3]) > 5
    with pytest.raises(UsageError, match="do not fit"):
        fit_anchored(lessons.features[:, :2], lessons.labels, three, torch.tensor([0, 0, 1, 2]), scale=10, strength=1)


def test_marks_that_tell_more_than_words_are_learned_from() -> None:
    choice = choose(_lessons(signal=1), candidates("auto", cues=False))
    assert choice.candidate.head == "anchored"
    best = next(t for t in choice.tried if t.candidate == choice.candidate)
    words = next(t for t in choice.tried if t.candidate.head == "words")
    assert best.miou > words.miou + 0.2
    assert best.surer is not None and best.surer > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_words_stay_where_marks_tell_nothing_more(seed: int) -> None:
    choice = choose(_lessons(signal=0, word_signal=0.6, seed=seed), candidates("auto", cues=False))
    words = next(t for t in choice.tried if t.candidate.head == "words")
    taken = next(t for t in choice.tried if t.candidate == choice.candidate)
    assert words.accuracy > 0.85
    assert choice.candidate.head == "words" or taken.miou > words.miou


@pytest.mark.parametrize("head", ["linear", "lp++", "taskres", "prototypes", "anchored"])
def test_a_head_that_was_asked_for_is_taken(head: str) -> None:
    """Though marks tell nothing more than the words."""
    lessons, options = _lessons(signal=0, word_signal=0.6), candidates(head, cues=False)
    assert choose(lessons, options).candidate.head == "words"
    taken = choose(lessons, options, named=True)
    assert taken.candidate.head == head
    mious = [t.miou for t in taken.tried if t.candidate.head == head]
    assert max(mious) == next(t.miou for t in taken.tried if t.candidate == taken.candidate)


def test_words_cannot_stay_where_a_marked_class_has_none() -> None:
    lessons = replace(_lessons(signal=0, word_signal=0.6, each=4), words=WORDS * torch.tensor([[1.0], [1], [0]]))
    assert choose(lessons, candidates("auto", cues=False)).candidate.head == "anchored"


def test_area_shares_are_found_from_how_a_head_errs() -> None:
    true = np.array([0.7, 0.1, 0.2])
    confusion = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.05, 0.05, 0.9]])
    found = area_shares(confusion, true @ confusion)
    even = 1 / 3
    np.testing.assert_allclose(found, 0.7 * true + 0.3 * even, atol=0.02)
    assert abs((true @ confusion)[0] - true[0]) > 0.1, "what the head says is not what is there"


def test_iou_of_a_map_where_a_class_is_rare() -> None:
    """As counted on an image of 1,000 pixels: 100 of class 0, 80 of them found, and 90 of the others called it."""
    confusion = np.array([[0.8, 0.2], [0.1, 0.9]])
    found = map_iou(confusion, np.array([0.1, 0.9]))
    np.testing.assert_allclose(found, [80 / (80 + 20 + 90), 810 / (810 + 20 + 90)])


def test_pixels_of_a_place_are_left_out_together() -> None:
    lessons = _lessons(signal=1)
    folds = folds_of(lessons, seed=0)
    assert len(np.unique(folds)) == 5
    assert all(len(np.unique(folds[lessons.places == place])) == 1 for place in np.unique(lessons.places))


def test_an_area_share_shifts_the_logits_and_a_temperature_makes_them_honest() -> None:
    lessons = _lessons(signal=0.35)
    choice = choose(lessons, [Candidate(head="words"), Candidate(head="anchored", strength=0.015)])
    assert choice.priors[0] > 0.6, "class 1 is a fifth of what lies around"
    held = choice.tried[1].accuracy
    probability = (logits_of(lessons, choice.head) / choice.temperature).softmax(dim=1).max(dim=1).values.mean()
    assert abs(float(probability) - held) < 0.15
