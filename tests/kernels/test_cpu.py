"""The compiled loops equal the plain formulas, at odd sizes and with as many channels as you like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from earthwords.kernels import adaptive_conv, bilateral, joint_kernel, range_kernel
from earthwords.kernels._cpu import double, filter_rows, spaced, window_products
from earthwords.kernels.bilateral import _cubic
from earthwords.models.upsamplers.jbu import JbuStage


@pytest.mark.parametrize(
    ("side", "height", "width", "channels"),
    [(7, 5, 9, 33), (11, 8, 3, 1), (3, 1, 17, 64), (11, 3, 9, 64), (7, 4, 6, 256)],
)
def test_filter_rows(side: int, height: int, width: int, channels: int) -> None:
    torch.manual_seed(side)
    source = torch.randn(1, channels, height + side - 1, width + side - 1)
    kernels = torch.randn(1, side * side, height, width)
    out = np.full((height, width, channels), np.nan, np.float32)
    padded = F.pad(source[0].permute(1, 2, 0), (0, spaced(channels) - channels), value=float("nan"))
    filter_rows(padded.contiguous().numpy(), kernels[0].numpy(), out)
    expected = adaptive_conv.reference(source, kernels)[0].permute(1, 2, 0)
    torch.testing.assert_close(torch.from_numpy(out), expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("radius", "first", "rows"), [(3, 0, 9), (5, 2, 4), (1, 8, 1)])
def test_window_products(radius: int, first: int, rows: int) -> None:
    torch.manual_seed(radius)
    keys = torch.randn(1, 32, 9, 13)
    padded = F.pad(keys, [radius] * 4, mode="reflect")
    out = np.full(((2 * radius + 1) ** 2, rows, 13), np.nan, np.float32)
    window_products(padded[0].contiguous().numpy(), padded[0].contiguous().numpy(), first, out)
    found = (0.7 * torch.from_numpy(out)).softmax(dim=0)
    expected = range_kernel.reference(keys, torch.tensor(0.7), radius)[0, :, first : first + rows]
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(("height", "width", "radius"), [(4, 7, 3), (3, 9, 5), (1, 2, 1)])
def test_double(height: int, width: int, radius: int) -> None:
    source = torch.randn(1, 6, height, width, generator=torch.Generator().manual_seed(height))
    out = np.full((2 * height + 2 * radius, 2 * width + 2 * radius, 6), np.nan, np.float32)
    double(source[0].permute(1, 2, 0).contiguous().numpy(), _cubic(), out, radius)
    large = F.interpolate(source, scale_factor=2, mode="bicubic", align_corners=False)
    expected = F.pad(large, [radius] * 4, mode="reflect")[0].permute(1, 2, 0)
    torch.testing.assert_close(torch.from_numpy(out), expected, atol=1e-6, rtol=1e-5)


def plain_step(stage: JbuStage, source: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """The references one after the other."""
    large = F.interpolate(source, size=guidance.shape[-2:], mode="bicubic", align_corners=False)
    kernels = joint_kernel.reference(stage.range_proj(guidance), guidance, stage._matrices())
    return adaptive_conv.reference(F.pad(large, [stage.radius] * 4, mode="reflect"), kernels)


@pytest.mark.parametrize("numbers", [1, 121 * 2 * 14, 2**18], ids=["a row", "two rows", "all rows"])
@pytest.mark.parametrize("radius", [3, 5])
@torch.inference_mode()
def test_a_step_in_bands_equals_the_plain_one(radius: int, numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every learned part has an effect; bands of any height; rows are handed on in order."""
    torch.manual_seed(radius)
    stage = JbuStage(radius).eval()
    for value in stage.parameters():
        value.normal_(0, 0.3)
    stage.sigma_spatial.fill_(0.7)
    source, guidance = torch.randn(1, 5, 4, 7), torch.randn(1, 3, 8, 14)
    expected = plain_step(stage, source, guidance)[0].permute(1, 2, 0)
    monkeypatch.setattr(bilateral, "BAND_NUMBERS", numbers)
    heights: list[int] = []

    def then(rows: torch.Tensor) -> torch.Tensor:
        heights.append(len(rows))
        return rows[..., :3] * 2

    found = stage.enlarge(source[0].permute(1, 2, 0), guidance, then=then)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / 2, expected[..., :3], atol=bilateral.TOLERANCE * scale, rtol=0)
    assert sum(heights) == 8 and (len(heights) == 8) == (numbers == 1)


@pytest.mark.parametrize("radius", [1, 3, 5])
def test_a_step_with_and_without_gradients(radius: int) -> None:
    """Training and inference take other paths to the same result."""
    torch.manual_seed(radius)
    stage = JbuStage(radius).eval()
    source, guidance = torch.randn(2, 5, 4, 7), torch.randn(2, 3, 8, 14)
    learning = stage(source, guidance)
    with torch.no_grad():
        inferring = stage(source, guidance)
        assert learning.requires_grad and not inferring.requires_grad
        torch.testing.assert_close(inferring, learning, atol=2e-5, rtol=0)
        torch.testing.assert_close(inferring, plain_step(stage, source, guidance), atol=2e-5, rtol=0)
