"""Losses against plain formulas."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from earthwords.training.losses import info_nce, region_text, siglip


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_info_nce_is_two_cross_entropies() -> None:
    image, text, scale = unit(7, 5), unit(7, 5, seed=1), torch.tensor(13.0)
    logits = 13 * image @ text.T
    expected = (F.cross_entropy(logits, torch.arange(7)) + F.cross_entropy(logits.T, torch.arange(7))) / 2
    torch.testing.assert_close(info_nce(image, text, scale), expected)


def test_the_same_sentence_twice_shares_its_target() -> None:
    image, text = unit(4, 8), unit(4, 8, seed=2)
    text[3] = text[1]
    same = torch.eye(4, dtype=torch.bool)
    same[1, 3] = same[3, 1] = True
    logits = 5 * image @ text.T
    target = same / same.sum(dim=1, keepdim=True)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    kind = torch.tensor([40, -7, 12, -7])
    torch.testing.assert_close(info_nce(image, text, torch.tensor(5.0), kind=kind), expected)


@pytest.mark.parametrize("chunk", [3, 7, 11, 100])
def test_chunks_change_neither_value_nor_gradient(chunk: int) -> None:
    image, text = (unit(11, 6, seed=seed).double().requires_grad_() for seed in (3, 4))
    scale = torch.tensor(9.0, dtype=torch.float64, requires_grad=True)
    kind = torch.tensor([0, 1, 2, 1, 4, 5, 1, 7, 8, 9, 0])
    target = (kind[:, None] == kind).double()
    target = target / target.sum(dim=1, keepdim=True)
    logits = scale * image @ text.T
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    found = info_nce(image, text, scale, kind=kind, chunk=chunk)
    torch.testing.assert_close(found, expected)
    inputs = (image, text, scale)
    for ours, theirs in zip(
        torch.autograd.grad(2 * found, inputs), torch.autograd.grad(2 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_siglip_is_a_binary_cross_entropy_of_all_pairs() -> None:
    image, text = unit(5, 6), unit(5, 6, seed=1)
    logits = 10 * image @ text.T - 4
    expected = F.binary_cross_entropy_with_logits(logits, torch.eye(5), reduction="sum") / 5
    found = siglip(image, text, torch.tensor(10.0), torch.tensor(-4.0), chunk=2)
    torch.testing.assert_close(found, expected)
    same = siglip(image, text, torch.tensor(10.0), torch.tensor(-4.0), kind=torch.tensor([0, 1, 1, 2, 3]))
    assert float(same) != pytest.approx(float(expected))


def test_region_text_equals_weighted_cross_entropy_at_the_same_resolution() -> None:
    features, words = torch.randn(2, 5, 3, 4), unit(3, 5)
    target = torch.randint(0, 3, (2, 3, 4))
    target[0, 0, :2] = 255
    weight = torch.tensor([1.0, 0.25, 3.0])
    logits = 20 * torch.einsum("bdhw,cd->bchw", F.normalize(features, dim=1), words)
    expected = F.cross_entropy(logits, target, weight=weight, ignore_index=255)
    torch.testing.assert_close(region_text(features, words, target, torch.tensor(20.0), weight=weight), expected)


def test_region_text_sees_borders_inside_a_token() -> None:
    """Two tokens, the border between their classes right in the middle: perfect only with finer targets."""
    features = torch.tensor([[[[1.0, -1.0]], [[0.0, 0.0]]]])
    words = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    middle = torch.tensor([[[0, 0, 0, 0, 1, 1, 1, 1]] * 4])
    shifted = torch.tensor([[[0, 0, 1, 1, 1, 1, 1, 1]] * 4])
    loss = [region_text(features, words, t, torch.tensor(10.0), weight=torch.ones(2)) for t in (middle, shifted)]
    assert loss[0] < loss[1]


def test_rest_is_any_word_but_the_others() -> None:
    words = torch.eye(3)[:2]
    road, other = torch.tensor([1.0, 0, 0]), torch.tensor([-1.0, 0, 0])
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    target[0, 0] = 1
    names = torch.stack([words[1], words[0]])  # class 0 is the rest, class 1 the road
    right = torch.stack([road, other]).T[None, :, :, None].expand(1, 3, 2, 2)
    wrong = torch.stack([other, road]).T[None, :, :, None].expand(1, 3, 2, 2)
    losses = [region_text(f, names, target, torch.tensor(9.0), weight=torch.ones(2), rest=0) for f in (right, wrong)]
    assert losses[0] < 0.01 < 5 < losses[1]


def test_rivals_compete_for_named_pixels_alone() -> None:
    """Beside a rest, a class that no mask has is what named pixels do not show; the rest may show it."""
    generator = torch.Generator().manual_seed(3)
    words = torch.nn.functional.normalize(torch.randn(3, 5, generator=generator), dim=1)  # rest, road, rival
    features = torch.randn(2, 5, 3, 4, generator=generator)
    target = torch.tensor([[0, 1, 1, 255], [1, 0, 0, 1], [0, 0, 1, 1]]).expand(2, 3, 4).contiguous()
    weight = torch.tensor([0.5, 2.0, 0.0])

    def loss(seen: Tensor, rival: bool) -> Tensor:
        kept = slice(0, 3 if rival else 2)
        return region_text(seen, words[kept], target, torch.tensor(9.0), weight=weight[kept], rest=0)

    pixels = torch.nn.functional.normalize(features, dim=1)
    cosines = 9 * torch.einsum("bdhw,cd->bchw", pixels, words[1:])
    road = target == 1
    three = torch.cat([cosines, torch.zeros(2, 1, 3, 4)], dim=1).log_softmax(dim=1)
    two = torch.cat([cosines[:, :1], torch.zeros(2, 1, 3, 4)], dim=1).log_softmax(dim=1)
    total = -2.0 * three[:, 0][road].sum() - 0.5 * two[:, 1][target == 0].sum()
    expected = total / (2.0 * road.sum() + 0.5 * (target == 0).sum())
    torch.testing.assert_close(loss(features, rival=True), expected)
    assert loss(features, rival=True) > loss(features, rival=False)


def test_nothing_to_see_costs_nothing() -> None:
    target = torch.full((1, 4, 4), 255)
    features = torch.randn(1, 5, 2, 2, requires_grad=True)
    loss = region_text(features, unit(3, 5), target, torch.tensor(20.0), weight=torch.ones(3))
    loss.backward()
    assert loss == 0 and features.grad is not None and not features.grad.isnan().any()


def test_a_class_that_is_not_asked_for_is_nothing() -> None:
    """Features that show it are right when they fit no word, and wrong when they fit another one."""
    words = torch.eye(4)[:3]
    target = torch.tensor([[[0, 1, 2, 2]]])
    fits = torch.stack([words[0], words[1], -words.sum(0), -words.sum(0)]).T[None, :, None]
    other = torch.stack([words[0], words[1], words[0], words[2]]).T[None, :, None]
    weight = torch.tensor([1.0, 2.0, 0.5])

    def loss(features: torch.Tensor, **options: Any) -> float:
        return float(region_text(features, words, target, torch.tensor(9.0), weight=weight, **options))

    assert loss(fits, left_out=[2]) < 0.05 < 1 < loss(other, left_out=[2])
    assert loss(fits) > 0.25, "asked for, it fits too little"


def test_what_is_left_out_is_a_logit_of_zero() -> None:
    features, words = torch.randn(2, 5, 3, 4), unit(4, 5)
    target = torch.randint(0, 4, (2, 3, 4))
    target[1, 1] = 255
    weight = torch.tensor([1.0, 0.25, 3.0, 3.0])
    logits = 20 * torch.einsum("bdhw,cd->bchw", F.normalize(features, dim=1), words)
    logits = torch.cat([logits[:, :2], torch.zeros(2, 1, 3, 4)], dim=1)
    joined = torch.where(target == 3, 2, target)
    expected = F.cross_entropy(logits, joined, weight=weight[:3], ignore_index=255)
    found = region_text(features, words, target, torch.tensor(20.0), weight=weight, rest=3, left_out=[2])
    torch.testing.assert_close(found, expected)
