"""Fast paths equal their references: odd and even sizes, more columns than rows, batches, gradients."""

from __future__ import annotations

import pytest
import torch

from earthwords.kernels import adaptive_conv, range_kernel

SHAPES = [(1, 1, 6, 7), (2, 5, 9, 14), (3, 4, 16, 8)]


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def agree(found: torch.Tensor, expected: torch.Tensor, inputs: list[torch.Tensor], tolerance: float) -> None:
    """Values and gradients."""
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    weight = random(*found.shape, seed=9).detach()
    pairs = zip(torch.autograd.grad(found, inputs, weight), torch.autograd.grad(expected, inputs, weight), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("side", [3, 7, 11])
@pytest.mark.parametrize(("batch", "channels", "height", "width"), [*SHAPES, (2, 64, 9, 21)])
def test_adaptive_conv(batch: int, channels: int, height: int, width: int, side: int) -> None:
    source = random(batch, channels, height + side - 1, width + side - 1, seed=1)
    kernels = random(batch, side * side, height, width, seed=2)
    found = adaptive_conv.adaptive_conv(source, kernels)
    agree(found, adaptive_conv.reference(source, kernels), [source, kernels], adaptive_conv.TOLERANCE)


def test_adaptive_conv_reads_offsets_by_rows() -> None:
    """A kernel that is 1 at offset (1, 2) takes the pixel one row down and two columns right."""
    source = torch.arange(48.0).reshape(1, 1, 6, 8)
    kernels = torch.zeros(1, 9, 4, 6)
    kernels[:, 1 * 3 + 2] = 1
    assert torch.equal(adaptive_conv.adaptive_conv(source, kernels), source[:, :, 1:5, 2:8])


@pytest.mark.parametrize("radius", [1, 3, 5])
@pytest.mark.parametrize(("batch", "channels", "height", "width"), SHAPES)
def test_range_kernel(batch: int, channels: int, height: int, width: int, radius: int) -> None:
    keys, temperature = random(batch, channels, height, width, seed=3), torch.tensor(0.7, requires_grad=True)
    found = range_kernel.range_kernel(keys, temperature, radius)
    expected = range_kernel.reference(keys, temperature, radius)
    agree(found, expected, [keys, temperature], range_kernel.TOLERANCE)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(batch, height, width))
