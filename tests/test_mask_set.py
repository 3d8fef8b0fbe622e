"""Masks of instances keep their pixels, wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from earthwords.errors import UsageError
from earthwords.mask_set import MaskSet
from earthwords.types import Grid

GRID = Grid(crs=CRS(32633), transform=Affine(0.5, 0, 400_000, 0, -0.5, 5_000_000), height=40, width=70)


def some_masks(count: int = 6) -> tuple[list[tuple[int, int]], list[np.ndarray]]:
    """Blobs of odd sizes with empty borders, some overlapping."""
    rng = np.random.default_rng(3)
    places, masks = [], []
    for _ in range(count):
        height, width = rng.integers(3, 14, 2)
        masks.append(np.pad(rng.random((height, width)) > 0.4, ((1, 0), (2, 3))))
        places.append((int(rng.integers(0, 40 - height - 1)), int(rng.integers(0, 70 - width - 5))))
    return places, masks


def burnt(places: list[tuple[int, int]], masks: list[np.ndarray]) -> np.ndarray:
    whole = np.zeros((len(masks), 40, 70), bool)
    for i, ((row, col), mask) in enumerate(zip(places, masks, strict=True)):
        whole[i, row : row + mask.shape[0], col : col + mask.shape[1]] = mask
    return whole


def test_pixels_come_back_at_their_places_in_the_smallest_box() -> None:
    places, masks = some_masks()
    whole = burnt(places, masks)
    kept = MaskSet.pack(GRID, places, masks)
    for i, (row, col, mask) in enumerate(kept):
        back = np.zeros((40, 70), bool)
        back[row : row + mask.shape[0], col : col + mask.shape[1]] = mask
        np.testing.assert_array_equal(back, whole[i])
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
    np.testing.assert_array_equal(kept.areas, whole.sum(axis=(1, 2)))
    np.testing.assert_array_equal(kept.union(), whole.any(axis=0))


def test_some_are_taken_in_the_order_asked_for() -> None:
    places, masks = some_masks()
    kept = MaskSet.pack(GRID, places, masks, scores=np.linspace(0, 1, 6), classes=[0, 1, 1, 0, 1, 0], titles="ab")
    some = kept.take([4, 0])
    assert some.scores.tolist() == pytest.approx([0.8, 0]) and some.classes.tolist() == [1, 0]
    np.testing.assert_array_equal(some.mask(0), kept.mask(4))
    assert len(kept.take(kept.scores > 0.5)) == 3 and len(kept.take(np.zeros(6, bool))) == 0


def test_a_mask_without_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="Mask 1 has no pixel"):
        MaskSet.pack(GRID, [(0, 0), (3, 4)], [np.ones((2, 3), bool), np.zeros((2, 3), bool)])
