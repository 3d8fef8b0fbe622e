"""Bands, colour and texture of pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from earthwords.geo.scene import open_scene
from earthwords.inference.windows.cues import OF_A_BAND, Cues
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.types import Window

Make = Callable[..., Path]


@pytest.fixture
def five(make_scene: Make) -> Path:
    """Five bands of 16 bits with a hole."""
    data = np.random.default_rng(0).integers(1, 4000, (5, 83, 57)).astype(np.uint16)
    data[4] = np.arange(57)[None] * 50 + 7
    data[:, 30:45, 20:31] = 0
    return make_scene(data, nodata=0)


@pytest.mark.parametrize("window", [(3, 5, 40, 33), (50, 20, 33, 37), (64, 0, 19, 57), (17, 16, 1, 1)])
def test_a_pixel_has_the_same_cues_in_any_window(five: Path, window: tuple[int, int, int, int]) -> None:
    row, col, height, width = window
    with open_scene(five) as scene, Cues(scene) as cues:
        assert len(cues) == 5 * OF_A_BAND
        whole = cues.read(Window(row=0, col=0, height=83, width=57), FailurePolicy())
        part = cues.read(Window(row=row, col=col, height=height, width=width), FailurePolicy())
    np.testing.assert_array_equal(part, whole[:, row : row + height, col : col + width])


def test_means_and_deviations_of_blocks(five: Path) -> None:
    """Between the middles of blocks of 4, by hand; pixels without an observation do not count."""
    with open_scene(five) as scene, Cues(scene) as cues:
        raster = scene.read(Window(row=0, col=0, height=83, width=57))
        found = cues.read(Window(row=0, col=0, height=83, width=57), FailurePolicy())
    band, valid = raster.data[1].astype(float), raster.valid
    np.testing.assert_allclose(found[OF_A_BAND], band, atol=1e-6)
    np.testing.assert_allclose(found[OF_A_BAND + 1], np.log(band + 0.05), atol=1e-5)

    def block(i: int, j: int) -> np.ndarray:
        part = (slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4))
        return band[part][valid[part]]

    row, col = 27, 18  # between the blocks 6 and 7, and 4 and 5 (right of it a hole)
    down, across = (row + 0.5) / 4 - 0.5 - 6, (col + 0.5) / 4 - 0.5 - 4
    for offset, figure in ((0, np.mean), (1, np.std)):
        corners = [[figure(block(i, j)) for j in (4, 5)] for i in (6, 7)]
        expected = np.array([1 - down, down]) @ np.array(corners) @ np.array([1 - across, across])
        assert found[OF_A_BAND + 4 + offset, row, col] == pytest.approx(expected, abs=2e-4)
    assert 0 < len(block(7, 5)) < 16


def test_bands_beyond_the_colours_are_read_on_the_same_grid(five: Path) -> None:
    with open_scene(five, bands=[3, 2, 1], gsd=None) as scene, Cues(scene) as cues:
        assert [number for _, number in cues.bands] == [3, 2, 1, 4, 5]
        found = cues.read(Window(row=0, col=0, height=10, width=57), FailurePolicy())
    ramp = found[4 * OF_A_BAND, 3]
    assert (np.diff(ramp[5:50]) > 0).all(), "the fifth band grows to the right"
