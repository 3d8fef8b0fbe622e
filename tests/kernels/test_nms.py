"""Suppression equals a loop over pairs, whatever the ties."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from earthwords.kernels.masks.nms import nms


def oracle(boxes: NDArray[np.float32], scores: NDArray[np.float32], threshold: float) -> list[int]:
    """Box after box, pair after pair."""
    left = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        stays = []
        for other in left:
            (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes[best], boxes[other]
            wide, tall = (
                max(np.float32(0), min(ax1, bx1) - max(ax0, bx0)),
                max(np.float32(0), min(ay1, by1) - max(ay0, by0)),
            )
            common = wide * tall
            union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - common
            if union == 0 or not float(np.float32(common / union)) > threshold:
                stays.append(other)
        left = stays
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 0.7, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_nms(threshold: float, seed: int) -> None:
    """Small whole sides: many quotients are equal, some are thresholds; scores in tenths."""
    rng = np.random.default_rng(seed)
    corner, side = rng.integers(0, 12, (120, 2)), rng.integers(0, 7, (120, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    scores = (rng.integers(0, 11, 120) / 10).astype(np.float32)
    found = nms(boxes, scores, threshold)
    assert found.dtype == np.int64 and found.tolist() == oracle(boxes, scores, threshold)


def test_ties_and_boxes_without_area() -> None:
    box, point, line = (0, 0, 10, 10), (3, 3, 3, 3), (0, 4, 9, 4)
    assert nms([box] * 3, [0.5, 0.5, 0.5], 0.7).tolist() == [0]
    assert nms([box] * 40, [0.5] * 39 + [0.6], 0.7).tolist() == [39]
    assert nms([point, point, line, line, box], [0.1, 0.2, 0.2, 0.3, 0.2], 0.0).tolist() == [3, 1, 2, 4, 0]
    assert nms(np.zeros((0, 4)), [], 0.5).tolist() == []


def test_a_quotient_that_is_the_threshold() -> None:
    """1/2 is not above 1/2; 3/5 in float32 is above 0.6, as it is for torchvision on a CPU."""
    assert nms([(0, 0, 2, 1), (0, 0, 1, 1)], [1, 0], 0.5).tolist() == [0, 1]
    assert nms([(0, 0, 5, 1), (0, 0, 3, 1)], [1, 0], 0.6).tolist() == [0]
    assert nms([(0, 0, 10, 1), (0, 0, 7, 1)], [1, 0], 0.7).tolist() == [0, 1]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
def test_many_boxes_are_suppressed_as_few_are(threshold: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a tree: ties, boxes without an area, and one that covers all."""
    rng = np.random.default_rng(3)
    corner, side = rng.integers(0, 150, (1500, 2)), rng.integers(0, 9, (1500, 2))
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    boxes[700] = 0, 0, 160, 160
    scores = rng.integers(0, 40, 1500).astype(np.float32) / 40
    found = nms(boxes, scores, threshold).tolist()
    assert found == oracle(boxes, scores, threshold) and 100 < len(found) < 1500
    monkeypatch.setattr("earthwords.kernels.masks.nms.MANY", 2000)
    assert nms(boxes, scores, threshold).tolist() == found
