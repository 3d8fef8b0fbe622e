"""Losses of training upsamplers against plain formulas."""

from __future__ import annotations

import math

import pytest
import torch

from earthwords.training import upsampling_losses


def test_reconstruction_is_a_gaussians_likelihood() -> None:
    found, target, scale = torch.randn(2, 5, 3, 4), torch.randn(2, 5, 3, 4), torch.rand(2, 1, 3, 4) + 0.5
    normal = torch.distributions.Normal(found, scale.expand_as(found))
    expected = -normal.log_prob(target).mean() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(upsampling_losses.reconstruction(found, target, scale), expected)


def test_random_projections_keep_lengths_on_average() -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 40, 3, 5)
    projection = upsampling_losses.random_projection(features, 2000)
    torch.testing.assert_close(projection.norm(dim=1), torch.ones(2, 2000))
    found = upsampling_losses.project(features, projection)
    assert found.shape == (2, 2000, 3, 5)
    kept = 40 * found.square().mean(dim=1) / features.square().sum(dim=1)
    assert float((kept - 1).abs().max()) < 0.15


def test_total_variation_of_a_slope() -> None:
    slope = 3 * torch.arange(7.0).expand(2, 4, 5, 7)
    assert float(upsampling_losses.total_variation(slope)) == pytest.approx(9 * 6 / 7)


def test_magnitude_and_entropy() -> None:
    features = torch.tensor([3.0, 4.0])[None, :, None, None].expand(2, 2, 3, 4)
    torch.testing.assert_close(upsampling_losses.magnitude(features), torch.full((2, 1, 3, 4), 5.0))
    assert float(upsampling_losses.entropy(torch.full((3, 1, 4, 8), 1 / 32))) == pytest.approx(math.log(32))


def test_sampled_crf_pixel_by_pixel() -> None:
    torch.manual_seed(0)
    guidance, features = torch.rand(1, 3, 6, 9), torch.randn(1, 4, 6, 9)
    rows, cols = torch.tensor([0, 2, 5]), torch.tensor([8, 1, 3])
    total = 0.0
    for r1, c1 in zip(rows.tolist(), cols.tolist(), strict=True):
        for r2, c2 in zip(rows.tolist(), cols.tolist(), strict=True):
            near = ((r1 - r2) / 6) ** 2 + ((c1 - c2) / 9) ** 2
            alike = float((guidance[0, :, r1, c1] - guidance[0, :, r2, c2]).square().sum())
            kernel = 10 * math.exp(-near / 0.2 - alike / 0.3) + 3 * math.exp(-near / 0.01)
            total += kernel * float((features[0, :, r1, c1] - features[0, :, r2, c2]).square().sum())
    assert float(upsampling_losses.sampled_crf(guidance, features, rows, cols)) == pytest.approx(total / 9, rel=1e-5)


def test_scale_and_shift_do_not_matter() -> None:
    torch.manual_seed(0)
    found, target = torch.randn(2, 16, 24), torch.randn(2, 16, 24)
    valid = (torch.rand(2, 16, 24) > 0.3).float()
    loss = upsampling_losses.scale_shift_invariant(found, target, valid)
    torch.testing.assert_close(
        upsampling_losses.scale_shift_invariant(-3 * found + 7, target, valid), loss, atol=1e-4, rtol=1e-4
    )
    assert float(upsampling_losses.scale_shift_invariant(2 * target - 1, target, valid)) < 1e-3 < float(loss)
    nothing = torch.zeros_like(valid)
    assert float(upsampling_losses.scale_shift_invariant(found, target, nothing)) == 0
