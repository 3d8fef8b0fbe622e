"""Boxes hold their components, and no row or column too much."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from earthwords.data.captions.mask_to_box import mask_to_boxes

HEIGHT, WIDTH = 37, 53


def blobs(seed: int) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH)), 1.5)
    return np.digitize(noise, [-0.1, 0.02, 0.12]).astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_every_component_fills_its_box(seed: int) -> None:
    mask = blobs(seed)
    found = mask_to_boxes(mask)
    assert set(found) == set(np.unique(mask).tolist()) - {0}
    for value, boxes in found.items():
        labels, count = ndimage.label(mask == value, np.ones((3, 3)))
        wanted = set()
        for i in range(1, count + 1):
            rows, cols = np.nonzero(labels == i)
            wanted.add((cols.min(), rows.min(), cols.max() + 1, rows.max() + 1))
        assert {tuple(box) for box in boxes.astype(int).tolist()} == wanted and len(boxes) == count
        assert boxes.tolist() == sorted(boxes.tolist(), key=lambda b: (b[1], b[0], b[3], b[2]))


def test_which_values_count() -> None:
    mask = np.zeros((5, 9), np.uint8)
    mask[1, 2:6], mask[4, 8], mask[0, 0] = 7, 7, 255
    assert {v: b.tolist() for v, b in mask_to_boxes(mask).items()} == {7: [[2, 1, 6, 2], [8, 4, 9, 5]]}
    assert mask_to_boxes(mask, {255})[255].tolist() == [[0, 0, 1, 1]]
    assert mask_to_boxes(mask, {0})[0].tolist() == [[0, 0, 9, 5]]
    assert mask_to_boxes(mask, {7}, least=2)[7].tolist() == [[2, 1, 6, 2]]
    assert mask_to_boxes(mask, {7}, least=5) == {}
    assert mask_to_boxes(np.zeros((3, 4), int)) == {}


def test_a_component_in_the_hole_of_another() -> None:
    mask = np.zeros((9, 11), np.int32)
    mask[1:8, 1:10], mask[2:7, 2:9], mask[4, 5] = 300, 0, 300
    assert mask_to_boxes(mask)[300].tolist() == [[1, 1, 10, 8], [5, 4, 6, 5]]
