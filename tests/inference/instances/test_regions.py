"""Regions that grow strip by strip, against labelling the whole in one shot; and what cuts them apart."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from scipy import ndimage

from earthwords.inference.instances import finders, regions
from earthwords.inference.instances.regions import ConnectedRegion, RegionCollector
from earthwords.inference.instances.splitting import basins, height_of
from earthwords.inference.windows.strip import Strip
from earthwords.mask_set import MaskSet
from earthwords.text.vocabulary import parse_classes
from earthwords.types import SCORE_STEPS, Grid


def collected(
    labels: np.ndarray, values: np.ndarray, heights: list[int], counted: tuple[int, ...]
) -> list[ConnectedRegion]:
    collector = RegionCollector(width=labels.shape[1], counted=counted, values=len(values))
    found, row = [], 0
    for height in heights:
        found += collector.add(row, labels[row : row + height], values[:, row : row + height])
        row += height
    assert row == len(labels)
    return [*found, *collector.finish()]


def blobs(seed: int, height: int = 83, width: int = 61) -> np.ndarray:
    """Labels 0..3 in patches of many sizes, nested and winding, and nodata."""
    noise = np.random.default_rng(seed).standard_normal((4, height, width))
    labels = np.stack([ndimage.gaussian_filter(n, 1.5) for n in noise]).argmax(axis=0).astype(np.uint8)
    labels[20:24, :] = 255
    return labels


@pytest.mark.parametrize("heights", [[83], [1] * 83, [32, 32, 19], [5, 1, 60, 17]])
def test_regions_are_those_of_the_whole(heights: list[int]) -> None:
    labels = blobs(3)
    values = np.rint(np.random.default_rng(1).random((2, *labels.shape)) * SCORE_STEPS) / SCORE_STEPS
    found = {}
    for region in collected(labels, values, heights, (1, 3)):
        top, left, height, width = region.box
        place = slice(top, top + height), slice(left, left + width)
        mask = region.mask()
        assert mask.any(axis=0).all() and mask.any(axis=1).all(), "the box fits"
        assert region.pixels == mask.sum()
        np.testing.assert_array_equal(np.unpackbits(region.packed(), count=mask.size).reshape(mask.shape), mask)
        np.testing.assert_allclose(region.means, values[(slice(None), *place)][:, mask].mean(axis=1), atol=1e-9)
        for value in (0, 1):
            picture = region.picture(value)
            assert picture is not None
            np.testing.assert_array_equal(picture, np.where(mask, np.rint(values[value][place] * SCORE_STEPS), 0))
        rows, cols = np.nonzero(mask)
        np.testing.assert_allclose(region.centre, (rows.mean() + top + 0.5, cols.mean() + left + 0.5))
        whole = np.zeros(labels.shape, bool)
        whole[place] = mask
        found[region.label, whole.tobytes()] = region
    wanted = set()
    for label in (1, 3):
        ids, count = ndimage.label(labels == label)
        wanted |= {(label, (ids == i).tobytes()) for i in range(1, count + 1)}
    assert found.keys() == wanted and len(wanted) > 20


def test_large_regions_keep_their_shape_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "MOST_PIXELS", 300)
    labels = np.zeros((40, 30), np.uint8)
    labels[2:5, 3:6] = 1
    large, small = sorted(collected(labels, np.full((1, 40, 30), 0.2), [7] * 5 + [5], (0, 1)), key=lambda r: -r.pixels)
    assert large.picture(0) is None and small.picture(0) is not None
    assert (large.pixels, small.pixels) == (1191, 9)
    np.testing.assert_allclose(large.means, 0.2)


def test_a_long_thin_region_is_held_as_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    side = 400
    labels = np.ones((side, side), np.uint8)
    rows = np.arange(side)
    labels[rows, rows] = labels[rows[1:], rows[:-1]] = 0
    grid = Grid(height=side, width=side, transform=Affine.identity(), crs=None)
    monkeypatch.setattr(finders, "MOST_BOX", side * side - 1)
    monkeypatch.setattr(ConnectedRegion, "mask", None)
    vocabulary = parse_classes(["road", "grass"])
    finder = finders.RegionFinder(
        grid=grid, vocabulary=vocabulary, counted=(0,), split="distance", min_area=0, kept=False
    )
    score, rgb = np.full(labels.shape, 0.5, np.float32), np.zeros((3, *labels.shape), np.float32)
    finder.add(Strip(row=0, labels=labels, score=score, rgb=rgb, valid=score > 0))
    found = finder.finish()
    assert found.masks.areas.tolist() == [2 * side - 1] and "too large to be things" in found.notes[0]
    np.testing.assert_array_equal(found.masks.mask(0), labels == 0)


def test_two_discs_that_touch_are_two_and_one_is_one() -> None:
    rows, cols = np.mgrid[:40, :70]
    first, second = np.hypot(rows - 20, cols - 18) < 14, np.hypot(rows - 20, cols - 44) < 15
    for mask, wanted in ((first | second, 2), (first, 1)):
        number = basins(height_of(mask, mask, "distance", smooth=1.0), mask, depth=0.1)
        assert number.max() == wanted and ((number > 0) == mask).all()
    assert abs((basins(height_of(first | second, first, "distance", smooth=1.0), first | second, depth=0.1) == 1).sum()
               - first.sum()) < 0.1 * first.sum()  # fmt: skip
    joined = basins(height_of(first | second, first, "distance", smooth=1.0), first | second, depth=0.9)
    assert joined.max() == 1, "a shallow saddle divides nothing"


def test_a_saddle_as_deep_as_asked_divides() -> None:
    heights = np.array([[1.0, 0.6, 0.8, 0.5, 0.9]])
    mask = np.ones((1, 5), bool)
    for depth, wanted in ((0.2, [1, 1, 2, 3, 3]), (0.3, [1, 1, 1, 1, 2]), (0.5, [1] * 5)):
        number = basins(heights, mask, depth=depth)[0]
        assert len(set(number)) == len(set(wanted)), depth
        assert (number[0], number[4]) == (1, max(wanted)) or len(set(wanted)) == 3


def test_probabilities_divide_what_the_outline_does_not() -> None:
    mask = np.ones((12, 40), bool)
    picture = np.where(np.abs(np.arange(40) - 19.5) < 3, 90, 200)[None] * mask
    assert basins(height_of(mask, picture, "probability", smooth=1.0), mask, depth=0.2).max() == 2
    assert basins(height_of(mask, picture, "distance", smooth=1.0), mask, depth=0.2).max() == 1


def test_rows_of_a_mask() -> None:
    mask = np.random.default_rng(0).random((37, 23)) < 0.5
    mask[[0, -1]] = mask[:, [0, -1]] = True
    grid = Grid(height=60, width=50, transform=Affine.identity(), crs=None)
    masks = MaskSet.pack(grid, [(3, 5)], [mask])
    np.testing.assert_array_equal(masks.rows(0, 16, 32), mask[16:32])
    np.testing.assert_array_equal(masks.rows(0, 32, 99), mask[32:])
    assert masks.areas.tolist() == [mask.sum()]
