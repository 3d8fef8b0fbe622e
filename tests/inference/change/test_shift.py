"""The shift between two dates, against shifts that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from earthwords.geo.aligned import AlignedScene
from earthwords.geo.scene import Scene, open_scene
from earthwords.inference.change.dates import shift as module
from earthwords.inference.change.dates.shift import correlate, find_shift
from earthwords.types import Grid, Raster
from tests.micro import patchwork


def raster(image: np.ndarray, valid: np.ndarray | None = None) -> Raster:
    data = np.moveaxis(image.astype(np.float32) / 255, -1, 0)
    seen = np.ones(data.shape[1:], bool) if valid is None else valid
    grid = Grid(height=data.shape[1], width=data.shape[2], transform=Affine.identity(), crs=None)
    return Raster(data=data * seen, valid=seen, grid=grid, bands=("red", "green", "blue"))


def another_day(image: np.ndarray, rows: float, cols: float) -> np.ndarray:
    """Displaced by so much, darker, in other colours, with noise and a tenth of it replaced."""
    moved = ndimage.shift(image.astype(float), (rows, cols, 0), order=3, mode="nearest")
    moved[40:80, 60:110] = 90
    noise = np.random.default_rng(6).normal(0, 6, image.shape)
    return np.clip(0.5 * moved * (1.0, 0.8, 0.7) + 10 + noise, 0, 255)


@pytest.mark.parametrize(("rows", "cols"), [(0.0, 0.0), (3.5, -2.25), (-11.3, 20.0)])
def test_a_shift_is_found_between_pixels(rows: float, cols: float) -> None:
    image = patchwork(190, 250)
    found = correlate(raster(image), raster(another_day(image, rows, cols)))
    assert found.is_sure
    assert abs(found.rows - rows) < 0.15 and abs(found.cols - cols) < 0.15


def test_strangers_have_no_sure_shift() -> None:
    found = correlate(raster(patchwork(190, 250, seed=1)), raster(patchwork(190, 250, seed=2)))
    assert not found.is_sure
    assert not correlate(raster(np.full((90, 70, 3), 7)), raster(patchwork(90, 70))).is_sure


def test_what_one_date_hides_does_not_count() -> None:
    image = patchwork(190, 250)
    valid = np.ones((190, 250), bool)
    valid[:, 150:] = False  # a border that both dates share, in the same place
    moved = another_day(image, 4, -3)
    found = correlate(raster(image, valid), raster(moved, valid))
    assert found.is_sure and abs(found.rows - 4) < 0.2 and abs(found.cols + 3) < 0.2


def test_large_scenes_are_looked_at_twice(make_scene: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SIDE", 128)
    monkeypatch.setattr(module, "PART", 128)
    image = ndimage.gaussian_filter(patchwork(420, 610).astype(float), (1, 1, 0))
    first, second = np.moveaxis(image, -1, 0), np.moveaxis(another_day(image, -9.4, 14.2), -1, 0)
    before = open_scene(make_scene(first.astype(np.uint8), name="a.tif"))
    after = AlignedScene(open_scene(make_scene(second.astype(np.uint8), name="b.tif")), before)
    found = find_shift(before, after)
    assert found.is_sure and abs(found.rows + 9.4) < 0.15 and abs(found.cols - 14.2) < 0.15
    again = find_shift(before, after.shifted((found.rows, found.cols)))
    assert again.pixels < 0.2
    assert isinstance(before, Scene) and not found.is_beyond(15) and found.is_beyond(14)
