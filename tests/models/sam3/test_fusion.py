"""One map of SAM 3's answers, against the formulas of the papers written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.models.sam3.fusion import RULES, Answers, Fusion
from earthwords.models.sam3.refusals import FUSIONS

SIZE = (17, 29)


def drawn(*, prompts: int = 3, queries: int = 11) -> Answers:
    random = torch.Generator().manual_seed(8)

    def normal(*shape: int) -> torch.Tensor:
        return 3 * torch.randn(shape, generator=random)

    return Answers(
        semantic=normal(prompts, *SIZE), masks=normal(prompts, queries, *SIZE), logits=normal(prompts, queries),
        presence=normal(prompts),
    )  # fmt: skip


def sigmoid(logits: torch.Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = 1 / (1 + np.exp(-logits.double().numpy()))
    return values


def by_formula(answers: Answers, rule: str, confidence: float) -> NDArray[np.float64]:
    """At the size of the masks, where nothing is enlarged."""
    presence = sigmoid(answers.presence)[:, None, None]
    scores = sigmoid(answers.logits) * presence[:, :, 0]
    ground, masks = sigmoid(answers.semantic), sigmoid(answers.masks)
    kept = np.where(scores > confidence, scores, 0)[:, :, None, None]
    either = np.maximum(ground, (kept * masks).max(axis=1))
    if rule == "max":
        return either * presence
    gate = presence * scores.max(axis=1)[:, None, None] * (1 - np.abs(ground - either))
    return np.clip(ground + gate * np.maximum(either - ground, 0), 1e-4, 1 - 1e-4) * presence


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("confidence", [0.0, 0.3, 1.0])
def test_the_formulas(rule: str, confidence: float) -> None:
    answers = drawn()
    found = Fusion(rule=rule, confidence=confidence).probabilities(answers, SIZE)
    assert found.shape == (3, *SIZE)
    assert np.abs(found.numpy() - by_formula(answers, rule, confidence)).max() < 1e-6


def test_a_confidence_of_one_leaves_the_semantic_map() -> None:
    answers = drawn()
    found = Fusion(confidence=1.0).probabilities(answers, SIZE)
    expected = sigmoid(answers.semantic) * sigmoid(answers.presence)[:, None, None]
    assert np.abs(found.numpy() - expected).max() < 1e-6


def test_logits_are_enlarged_before_they_are_probabilities() -> None:
    answers, size = drawn(prompts=2, queries=1), (34, 58)
    found = Fusion(confidence=1.0, presence=False).probabilities(answers, size)
    first = torch.nn.functional.interpolate(answers.semantic[:, None], size, mode="bilinear")[:, 0].sigmoid()
    last = torch.nn.functional.interpolate(answers.semantic[:, None].sigmoid(), size, mode="bilinear")[:, 0]
    assert torch.equal(found, first)
    assert float((first - last).abs().max()) > 0.05


def test_the_gate_only_takes_away() -> None:
    answers = drawn()
    gated, larger = (Fusion(rule=r, confidence=0.3).probabilities(answers, SIZE) for r in ("pgrf", "max"))
    ground = Fusion(instances=False).probabilities(answers, SIZE)
    assert bool((gated <= larger + 1e-6).all()) and bool((gated >= ground - 1e-4).all())
    assert bool((gated < larger - 0.01).any()) and bool((gated > ground + 0.01).any())


def test_refusals() -> None:
    assert tuple(RULES) == FUSIONS
    with pytest.raises(UsageError, match="'maximum'"):
        Fusion(rule="maximum")
    with pytest.raises(UsageError, match="between 0 and 1"):
        Fusion(confidence=1.5)
