"""Boundary IoU against distances that are measured pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.boundary_iou import BoundaryCounts, strip, strip_width


def slow_strip(mask: np.ndarray, width: int) -> np.ndarray:
    """A pixel belongs to it if any pixel within `width` rows and columns is outside the mask or the image."""
    out = np.zeros_like(mask)
    for row, col in zip(*np.nonzero(mask), strict=True):
        for y in range(row - width, row + width + 1):
            for x in range(col - width, col + width + 1):
                inside = 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]
                out[row, col] |= not inside
    return out


def blobs(seed: int, shape: tuple[int, int], classes: int) -> np.ndarray:
    """Rectangles of classes on one another."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, int)
    for _ in range(9):
        (top, left), label = rng.integers(0, shape), rng.integers(0, classes)
        labels[top : top + rng.integers(4, 16), left : left + rng.integers(4, 20)] = label
    return labels


@pytest.mark.parametrize("width", [1, 2, 5])
def test_strip_is_what_lies_near_an_edge(width: int) -> None:
    mask = blobs(1, (37, 23), 2) == 1
    assert 0 < mask.mean() < 1
    assert np.array_equal(strip(mask, width), slow_strip(mask, width))


def test_counts_add_up_to_the_iou_of_the_strips() -> None:
    counts, whole = BoundaryCounts(5, ratio=0.04), BoundaryCounts(5, ratio=0.04)
    common, either = np.zeros(5), np.zeros(5)
    for seed, shape in enumerate(((40, 28), (25, 61))):
        truth, prediction = blobs(seed, shape, 4), blobs(seed + 5, shape, 4)
        truth[3:9, 10:20] = 255
        prediction[-2:, -5:] = 99
        width = round(0.04 * float(np.hypot(*shape)))
        for label in range(4):
            seen = truth != 255
            a, b = (slow_strip((m == label) & seen, width) for m in (truth, prediction))
            common[label] += (a & b).sum()
            either[label] += (a | b).sum()
        part = BoundaryCounts(5, ratio=0.04)
        part.add(truth, prediction)
        counts.merge(part)
        whole.add(truth, prediction)
    np.testing.assert_allclose(counts.iou()[:4], common[:4] / either[:4], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(whole.iou(), counts.iou())
    assert np.isnan(counts.iou()[4]) and counts.miou == pytest.approx(np.nanmean(common[:4] / either[:4]), abs=1e-12)


def test_it_sees_a_shifted_edge_that_iou_hardly_does() -> None:
    truth = np.zeros((100, 160), int)
    truth[10:90, 20:140] = 1
    counts = BoundaryCounts(2)
    counts.add(truth, np.roll(truth, 2, axis=1))
    assert strip_width(truth.shape) == 4
    assert counts.iou()[1] < 0.8 < 76 / 80


def test_perfect_empty_and_wrong_use() -> None:
    counts = BoundaryCounts(2)
    assert np.isnan(counts.miou)
    counts.add(np.full((3, 4), 255), np.zeros((3, 4), int))
    assert np.isnan(counts.miou)
    counts.add(np.ones((3, 4), int), np.ones((3, 4), int))
    assert counts.iou()[1] == 1 and np.isnan(counts.iou()[0])
    assert strip_width((3, 4)) == 1
    with pytest.raises(UsageError, match="above 0, got 0"):
        BoundaryCounts(2, ratio=0)
    with pytest.raises(UsageError, match="classes or widths"):
        counts.merge(BoundaryCounts(2, ratio=0.1))
