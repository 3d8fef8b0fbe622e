"""Distortions of the guidance image: PIL is the oracle where it knows the operation."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from earthwords.training.upsamplers import guidance_augment
from tests.micro import patchwork

PIXELS = patchwork(37, 53)
PIXELS[..., 1] = PIXELS[..., 1] // 2 + 40


def floats(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


IMAGE = floats(PIXELS)
ENHANCE = ImageEnhance

CASES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Image.Image], Image.Image], float]] = {
    "darker": (lambda x: guidance_augment.brightness(x, 0.8), lambda i: ENHANCE.Brightness(i).enhance(0.8), 1.01),
    "brighter": (lambda x: guidance_augment.brightness(x, 1.5), lambda i: ENHANCE.Brightness(i).enhance(1.5), 1.01),
    "less contrast": (lambda x: guidance_augment.contrast(x, 0.5), lambda i: ENHANCE.Contrast(i).enhance(0.5), 1.5),
    "more contrast": (lambda x: guidance_augment.contrast(x, 1.5), lambda i: ENHANCE.Contrast(i).enhance(1.5), 1.5),
    "less colour": (lambda x: guidance_augment.saturation(x, 0.6), lambda i: ENHANCE.Color(i).enhance(0.6), 1.5),
    "more colour": (lambda x: guidance_augment.saturation(x, 1.4), lambda i: ENHANCE.Color(i).enhance(1.4), 1.5),
    "grey": (guidance_augment.grey, lambda i: i.convert("L").convert("RGB"), 1.01),
    "sharpen": (lambda x: guidance_augment.sharpen(x, 1.5), lambda i: ENHANCE.Sharpness(i).enhance(1.5), 1.5),
    "autocontrast": (guidance_augment.autocontrast, ImageOps.autocontrast, 1.01),
    "equalise": (guidance_augment.equalise, ImageOps.equalize, 0.01),
    "posterise": (lambda x: guidance_augment.posterise(x, 5), lambda i: ImageOps.posterize(i, 5), 0.01),
    "solarise": (lambda x: guidance_augment.solarise(x, 128 / 255), lambda i: ImageOps.solarize(i, 128), 0.01),
    "solarise all": (lambda x: guidance_augment.solarise(x, 0.9 / 255), lambda i: ImageOps.solarize(i, 1), 0.01),
    "invert": (guidance_augment.invert, ImageOps.invert, 0.01),
}


@pytest.mark.parametrize("name", CASES)
def test_as_pil(name: str) -> None:
    """Within the rounding of whole numbers, `most` of 255."""
    ours, theirs, most = CASES[name]
    kept = IMAGE.clone()
    found, expected = ours(IMAGE), floats(np.array(theirs(Image.fromarray(PIXELS))))
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert float((found - expected).abs().max()) * 255 <= most
    assert torch.equal(IMAGE, kept)


@pytest.mark.parametrize("turns", [-0.05, 0.0, 0.05, 0.4])
def test_hue_as_colorsys(turns: float) -> None:
    found = guidance_augment.hue(IMAGE, turns)
    for row, col in np.ndindex(6, 9):
        h, s, v = colorsys.rgb_to_hsv(*IMAGE[:, 6 * row, 5 * col].tolist())
        expected = colorsys.hsv_to_rgb((h + turns) % 1, s, v)
        assert found[:, 6 * row, 5 * col].tolist() == pytest.approx(expected, abs=1e-5)
    greys = torch.full((3, 2, 2), 0.3)
    torch.testing.assert_close(guidance_augment.hue(greys, turns), greys)


@pytest.mark.parametrize("sigma", [0.3, 1.5])
def test_blur_is_a_gaussian_of_5_pixels(sigma: float) -> None:
    weights = [np.exp(-((i - 2) ** 2 + (j - 2) ** 2) / (2 * sigma**2)) for i in range(5) for j in range(5)]
    weights = (np.array(weights) / np.sum(weights)).tolist()
    found = guidance_augment.blur(IMAGE, sigma)
    expected = floats(np.array(Image.fromarray(PIXELS).filter(ImageFilter.Kernel((5, 5), weights, scale=1))))
    assert found.shape == IMAGE.shape
    assert float((found - expected)[:, 2:-2, 2:-2].abs().max()) * 255 <= 1.01
    mirrored = torch.cat([IMAGE[:, 1:3].flip(1), IMAGE], dim=1)
    torch.testing.assert_close(found[:, 0], guidance_augment.blur(mirrored, sigma)[:, 2])


def test_jpeg_loses_more_at_lower_quality() -> None:
    lost = [float((guidance_augment.jpeg(IMAGE, q) - IMAGE).square().mean()) for q in (95, 80, 60, 40)]
    assert 0 < lost[0] < lost[1] < lost[2] < lost[3] < 0.02


def test_channels_that_cannot_be_stretched_stay() -> None:
    flat = torch.full((3, 6, 8), 0.4) * torch.tensor([1.0, 0.5, 0.25])[:, None, None]
    torch.testing.assert_close(guidance_augment.autocontrast(flat), flat)
    torch.testing.assert_close(guidance_augment.equalise(flat), flat, atol=0.5 / 255, rtol=0)


def test_noise() -> None:
    grey = torch.full((3, 60, 80), 0.5)
    found = guidance_augment.noise(grey, np.random.default_rng(0), 0.03)
    assert float(found.std()) == pytest.approx(0.03, rel=0.05) and float(found.mean()) == pytest.approx(0.5, abs=1e-3)


def test_every_operation_occurs_as_often_as_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    shares = [share for _, share in guidance_augment.OPERATIONS]
    table = tuple((lambda image, rng, i=i: seen.append(i) or image, share) for i, share in enumerate(shares))
    monkeypatch.setattr(guidance_augment, "OPERATIONS", table)
    rng, tries = np.random.default_rng(0), 4000
    for _ in range(tries):
        guidance_augment.distorted(IMAGE, rng)
    assert (np.bincount(seen) / tries).tolist() == pytest.approx(shares, abs=0.025)
    assert sum(guidance_augment.QUALITIES.values()) == pytest.approx(1)


@pytest.mark.parametrize("operation", range(len(guidance_augment.OPERATIONS)))
def test_operations_stay_in_range_and_leave_the_image_alone(operation: int) -> None:
    change, kept = guidance_augment.OPERATIONS[operation][0], IMAGE.clone()
    found = [change(IMAGE, np.random.default_rng(seed)) for seed in range(5)]
    assert all(x.shape == IMAGE.shape and x.dtype == torch.float32 for x in found)
    assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x in found)
    assert any(float((x - IMAGE).abs().max()) > 1e-3 for x in found)
    assert torch.equal(IMAGE, kept)


def test_the_same_seed_gives_the_same_image() -> None:
    first, second, other = (guidance_augment.distorted(IMAGE, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second) and not torch.equal(first, other)
