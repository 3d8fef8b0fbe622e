"""Connected changes of a map: none smaller than asked for, as polygons count them."""

from __future__ import annotations

import numpy as np
from rasterio.features import shapes
from shapely.geometry import shape

from earthwords.inference.change.dates.pieces import large_pieces, without_specks
from earthwords.inference.change.dates.windows import Comparison


def compared(before: np.ndarray, after: np.ndarray, seen: np.ndarray | None = None) -> Comparison:
    score = np.where(before != after, 0.75, 0).astype(np.float32)
    return Comparison(
        before=before, after=after, score=score, seen=np.ones(before.shape, bool) if seen is None else seen
    )


def sizes(found: Comparison) -> list[float]:
    """Of the polygons."""
    pairs = (found.before * 10 + found.after).astype(np.int32)
    mask = (found.before != found.after) & found.seen
    return sorted(shape(one).area for one, _ in shapes(pairs, mask=mask, connectivity=4))


def test_pixels_that_touch_by_corners_are_apart() -> None:
    before, after = np.zeros((12, 15), int), np.zeros((12, 15), int)
    after[1:5, 2:7] = after[5, 7] = after[6, 8] = after[10, 13] = 1
    same = np.full(before.shape, 2)
    found = without_specks(compared(before, after), same, 20)
    assert sizes(found) == [20] and (found.score > 0).sum() == 20
    assert found.before[5, 7] == found.after[5, 7] == 2 and found.before[0, 0] == 0
    assert sizes(without_specks(compared(before, after), same, 21)) == []
    assert large_pieces(after == 1, 20).sum() == 20 and not large_pieces(after == 1, 21).any()


def test_what_touches_a_larger_change_joins_it() -> None:
    before, after = np.zeros((12, 15), int), np.zeros((12, 15), int)
    after[2:8, 2:8] = 1
    before[4:6, 8:11], after[4:6, 8:11] = 2, 1  # beside it, from another class
    before[7, 10], after[7, 10] = 3, 0  # alone
    found = without_specks(compared(before, after), np.zeros_like(before), 20)
    assert sizes(found) == [42] and (found.before[4:6, 8:11] == 0).all() and (found.after[4:6, 8:11] == 1).all()
    assert (found.score[4:6, 8:11] == 0.75).all() and found.score[7, 10] == 0 and found.before[7, 10] == 0


def test_unseen_pixels_join_nothing() -> None:
    before, after = np.zeros((8, 30), int), np.zeros((8, 30), int)
    after[2:6, 2:28] = 1
    seen = np.ones(before.shape, bool)
    seen[:, 20] = False
    found = without_specks(compared(before, after, seen), np.zeros_like(before), 30)
    assert sizes(found) == [72]


def test_of_noise() -> None:
    rng = np.random.default_rng(7)
    before, after = rng.integers(0, 3, (2, 70, 90))
    after = np.where(rng.random(after.shape) < 0.7, 1, after)
    before = np.where(rng.random(after.shape) < 0.7, 0, before)
    raw = compared(before, after)
    found = without_specks(raw, after, 12)
    assert sizes(raw)[0] == 1 and min(sizes(found)) >= 12
    assert not ((found.before != found.after) & (before == after)).any()
