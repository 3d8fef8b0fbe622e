"""A picture of features: panels, captions, and what was not observed."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from pyproj import CRS

from earthwords.types import Grid
from earthwords.viz.feature_preview import FeaturePicture
from earthwords.viz.panels import EMPTY, GAP, MARGIN

CAPTIONS = ("one", "another", "the third")


def made(height: int, width: int, *, crs: CRS | None = None, captions: tuple[str, ...] = CAPTIONS) -> Image.Image:
    grid = Grid(height=height, width=width, transform=Affine(0.5, 0, 326_000, 0, -0.5, 2_781_000), crs=crs)
    picture = FeaturePicture(grid, captions, max_side=600)
    valid = np.ones((height, width), bool)
    valid[:, -60:] = False
    for row in range(0, height, 37):
        part = slice(row, min(row + 37, height))
        shape = (3, part.stop - row, width)
        panels = [np.full(shape, level, np.float32) for level in (0.2, 0.4, 0.8)]
        panels[1][:, ~valid[part]] = np.nan
        picture.add(row, panels, valid[part])
    return picture.image()


def test_panels_side_by_side() -> None:
    pixels = np.asarray(made(500, 600))
    for i, level in enumerate((51, 102, 204)):
        left = MARGIN + i * (600 + GAP)
        assert (pixels[MARGIN : MARGIN + 500, left : left + 540] == level).all()
        assert (pixels[MARGIN : MARGIN + 500, left + 540 : left + 600] == EMPTY).all()
        caption = pixels[MARGIN + 501 : MARGIN + 526, left : left + 80]
        assert caption.min() < 120
    assert pixels.shape[1] == 2 * MARGIN + 3 * 600 + 2 * GAP


def test_wide_panels_lie_one_above_the_other() -> None:
    image = made(300, 600)
    assert image.width == 600 + 2 * MARGIN and image.height > 3 * 300
    pixels = np.asarray(image)
    assert [int(pixels[MARGIN + 10 + i * (300 + 26 + GAP), MARGIN + 10, 0]) for i in range(3)] == [51, 102, 204]


def test_long_captions_do_not_run_into_each_other() -> None:
    long = "a caption that is a good deal longer than its panel is wide, as those of narrow scenes are"
    narrow, wide = made(500, 100), made(500, 100, captions=(long, long, long))
    assert wide.width > 3 * 400 > narrow.width


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(32640)])
def test_a_scale_bar_where_metres_are_known(crs: CRS | None) -> None:
    pixels = np.asarray(made(500, 600, crs=crs))[MARGIN : MARGIN + 500, MARGIN : MARGIN + 540]
    assert (pixels == 255).any() == (crs is not None)
