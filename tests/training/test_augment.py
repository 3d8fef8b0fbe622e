"""Crops: image and mask stay together whatever the view."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from earthwords.data.manifests.captions import IGNORE
from earthwords.training.augment import (
    Crop,
    random_compression,
    random_crop_at,
    random_sensor,
    random_style,
    random_view,
    take,
    take_mask,
)


def picture(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A mask of large blocks, and an image whose red channel is the mask times 20."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 10, (-(-height // 16), -(-width // 16)))
    mask = np.kron(coarse, np.ones((16, 16), int))[:height, :width].astype(np.uint8)
    image = np.stack([mask * 20, 255 - mask * 20, np.full_like(mask, 7)], axis=-1)
    return image, mask


def test_the_plain_crop_is_a_slice() -> None:
    image, mask = picture(60, 90)
    crop = Crop(row=10 + 16, col=20 + 16, zoom=1.0, angle=0.0, mirrored=False)
    expected = torch.from_numpy(image[10:42, 20:52]).permute(2, 0, 1).float() / 255
    torch.testing.assert_close(take(image, crop, 32), expected, atol=2e-3, rtol=0)
    assert torch.equal(take_mask(mask, crop, 32, step=1), torch.from_numpy(mask[10:42, 20:52].astype(np.int64)))


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_quarter_turns_and_mirrors_are_numpys(quarter: int, mirrored: bool) -> None:
    _, mask = picture(40, 40)
    crop = Crop(row=20, col=20, zoom=1.0, angle=np.pi / 2 * quarter, mirrored=mirrored)
    found = take_mask(mask, crop, 32, step=1).numpy()
    expected = np.rot90(mask[4:36, 4:36], quarter)
    expected = expected[:, ::-1] if mirrored else expected
    assert (found == expected).mean() > 0.999


@pytest.mark.parametrize("seed", range(12))
def test_image_and_mask_agree_in_any_view(seed: int) -> None:
    image, mask = picture(120, 170)
    rng = np.random.default_rng(seed)
    crop = random_crop_at((60, 80), mask.shape, 48, rng, zoom=(0.4, 1.2))
    red = take(image, crop, 48)[0] * 255 / 20
    labels = take_mask(mask, crop, 48, step=1)
    inside = labels != IGNORE
    close = (red - labels).abs() < 0.6
    assert close[inside].float().mean() > 0.85, "only pixels on block borders mix"


def test_mask_cells_are_sampled_at_their_centres() -> None:
    _, mask = picture(64, 64)
    crop = Crop(row=32, col=32, zoom=1.0, angle=0.0, mirrored=False)
    assert torch.equal(take_mask(mask, crop, 64, step=4), torch.from_numpy(mask[2::4, 2::4].astype(np.int64)))


def test_outside_the_mask_is_ignored() -> None:
    image, mask = picture(40, 40)
    crop = Crop(row=0, col=20, zoom=1.0, angle=0.0, mirrored=False)
    labels = take_mask(mask, crop, 32, step=1)
    assert (labels[:16] == IGNORE).all() and (labels[16:] != IGNORE).all()
    assert take(image, crop, 32).isfinite().all()


def test_shrinking_averages() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    crop = Crop(row=128, col=128, zoom=8.0, angle=0.0, mirrored=False)
    assert take(noise, crop, 32).std() < 0.1 < noise.std() / 255


@pytest.mark.parametrize("seed", range(5))
def test_views_stay_inside(seed: int) -> None:
    crop = random_view((90, 130), 64, np.random.default_rng(seed), cover=(0.5, 1.0))
    half = 64 * crop.zoom / 2
    assert half <= crop.row <= 90 - half and half <= crop.col <= 130 - half
    assert 45 <= 64 * crop.zoom <= 90


def test_sensors_differ_but_keep_the_picture() -> None:
    image, _ = picture(64, 64)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float().div(255).expand(16, 3, 64, 64).clone()
    out = random_sensor(pixels.clone(), np.random.default_rng(3))
    assert out.shape == pixels.shape and out.min() >= 0 and out.max() <= 1
    assert (out[0] - out[1]).abs().mean() > 0.01
    grey, original = out.mean(dim=1), pixels[:, 0]
    for i in range(16):
        assert abs(np.corrcoef(grey[i].ravel(), original[i].ravel())[0, 1]) > 0.3 or grey[i].std() < 0.02
    again = random_sensor(pixels.clone(), np.random.default_rng(3))
    assert torch.equal(out, again)


def test_style_takes_colours_and_leaves_the_pattern() -> None:
    """Every channel of a picture keeps its pattern; mean and contrast of some are those of another one."""
    rng = np.random.default_rng(3)
    tone = torch.linspace(0.3, 0.6, 40)[:, None, None, None] * torch.tensor([0.8, 1.0, 1.2])[:, None, None]
    pixels = tone + 0.05 * torch.randn(40, 3, 24, 20, generator=torch.Generator().manual_seed(0))
    styled = random_style(pixels, rng)
    assert styled.shape == pixels.shape and styled.min() >= 0 and styled.max() <= 1
    same = (styled - pixels).abs().amax(dim=(1, 2, 3)) < 1e-3
    assert 15 < int(same.sum()) < 34
    green = torch.stack([styled[:, 1].flatten(1), pixels[:, 1].flatten(1)], dim=1)
    pattern = [torch.corrcoef(pair)[0, 1] for pair in green]
    assert sum(p > 0.99 for p in pattern) >= 36, "but for the few that became grey"


def test_compression_loses_detail_not_colour() -> None:
    pixels = torch.rand(60, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    before = pixels.clone()
    worse = random_compression(pixels, np.random.default_rng(0))
    assert torch.equal(pixels, before), "the argument stays"
    untouched = (worse == before).flatten(1).all(dim=1)
    assert 15 < int(untouched.sum()) < 50
    torch.testing.assert_close(worse.mean(dim=(2, 3)), before.mean(dim=(2, 3)), atol=0.06, rtol=0)
    detail = [v[~untouched].diff(dim=-1).abs().mean() for v in (worse, before)]
    assert detail[0] < 0.9 * detail[1]
