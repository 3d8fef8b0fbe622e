"""Learned downsamplers at any shape, and the heads of training."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.models.upsamplers._downsamplers import AttentionDownsampler, SimpleDownsampler, gaussian_blur
from earthwords.models.upsamplers._heads import ContentRetention, ScaleNet, near_identity


@pytest.mark.parametrize(("size", "kernel", "final"), [((33, 47), (9, 8), (4, 6)), ((40, 40), 8, 5), ((20, 9), 9, 1)])
def test_even_attention_is_a_mean_over_windows(size: tuple[int, int], kernel: int, final: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 6, *size)
    simple, attention = SimpleDownsampler(kernel, final), AttentionDownsampler(6, kernel, final, blur=False)
    nn.init.zeros_(attention.b)
    found = attention(features, keep=torch.zeros(2, *attention.final, dtype=torch.bool))
    assert found.shape == (2, 6, *attention.final)
    torch.testing.assert_close(found, simple(features), atol=1e-5, rtol=1e-5)


def test_windows_side_by_side_are_pooling() -> None:
    features = torch.randn(1, 3, 24, 40)
    torch.testing.assert_close(SimpleDownsampler(8, (3, 5))(features), F.avg_pool2d(features, 8))


def test_saliency_draws_towards_its_pixels() -> None:
    features = torch.zeros(1, 2, 16, 16)
    features[0, 0, ::4, ::4] = 20
    features[0, 1] = 1 - features[0, 0] / 20
    downsampler = AttentionDownsampler(2, 8, 2, blur=False).eval()
    with torch.no_grad():
        downsampler.attention_net[1].weight.copy_(torch.tensor([[1.0, 0.0]]))
        out = downsampler(features, keep=torch.ones(1, 2, 2, dtype=torch.bool))
    assert float(out[:, 1].max()) < 0.01


def test_windows_are_left_out_at_random_in_evaluation_too() -> None:
    torch.manual_seed(0)
    downsampler = AttentionDownsampler(4, 8, 5).eval()
    features = 3 * torch.randn(1, 4, 40, 40)
    assert not torch.equal(downsampler(features), downsampler(features))


@pytest.mark.parametrize("final", [6, (2, 9)])
def test_windows_that_do_not_fit(final: int) -> None:
    with pytest.raises(UsageError, match="do not fit into features of 12 x 12"):
        SimpleDownsampler(8, final)(torch.zeros(1, 1, 12, 12))


def test_blur_keeps_a_constant_and_the_sum_inside() -> None:
    torch.testing.assert_close(gaussian_blur(torch.full((1, 2, 7, 9), 3.0)), torch.full((1, 2, 7, 9), 3.0))
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    blurred = gaussian_blur(point)
    assert float(blurred.sum()) == pytest.approx(1) and float(blurred[..., 4, 4]) < 0.2


@torch.no_grad()
def test_heads_begin_as_the_authors_do() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 12, 5, 7)
    scales = ScaleNet(12)(features)
    assert scales.shape == (2, 1, 5, 7) and float((scales - 1.105).abs().max()) < 0.3
    assert ContentRetention(12)(features).shape == (2, 3, 5, 7)
    convolution = near_identity(12)
    off = convolution.weight[:, :, 0, 0] - 0.9 * torch.eye(12)
    assert float(off.abs().max()) <= 0.1 / 12**0.5 and float(convolution.bias.abs().max()) <= 0.1 / 12**0.5
