"""Change of masks by features and by words, against slow formulas."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from affine import Affine
from numpy.typing import NDArray
from torch.nn import functional as F

from earthwords.errors import UsageError
from earthwords.inference.change import anychange, dynamicearth, existence, identify, mask_means, matching
from earthwords.inference.change.dated_masks import DatedMasks
from earthwords.inference.change.histogram_matching import match_histogram
from earthwords.inference.change.otsu import otsu
from earthwords.mask_set import MaskSet
from earthwords.types import Grid

SIZE = (37, 52)


def some_masks(count: int, seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """Blobs at random places, `(mask, row, col)`."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: size[0], : size[1]]
    centres = rng.uniform((0, 0), size, (count, 2))
    radii = rng.uniform(2, 9, (count, 2))
    out = [((rows - y) / a) ** 2 + ((cols - x) / b) ** 2 <= 1 for (y, x), (a, b) in zip(centres, radii, strict=True)]
    return np.array(out) | (np.abs(rows - centres[:, :1, None]) + np.abs(cols - centres[:, 1:, None]) < 1)


def packed(masks: NDArray[np.bool_], scores: NDArray[np.float32] | None = None) -> MaskSet:
    grid = Grid(height=masks.shape[1], width=masks.shape[2], transform=Affine.identity(), crs=None)
    return MaskSet.pack(grid, [(0, 0)] * len(masks), list(masks), scores=scores)


def dated(before: NDArray[np.bool_], after: NDArray[np.bool_], seed: int = 0) -> DatedMasks:
    rng = np.random.default_rng(seed)
    return DatedMasks.join(*(packed(m, rng.uniform(0.5, 1, len(m)).astype(np.float32)) for m in (before, after)))


@pytest.mark.parametrize("cells", [(5, 7), (1, 3), (60, 8)])
def test_means_are_those_of_interpolated_features(cells: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(6, *cells, generator=torch.Generator().manual_seed(1))
    whole = F.interpolate(features[None], SIZE, mode="bilinear", align_corners=True)[0]
    masks = some_masks(9, 2)
    found = mask_means.mask_means(features, packed(masks), SIZE)
    expected = torch.stack([whole[:, torch.from_numpy(mask)].mean(dim=1) for mask in masks])
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=1e-5)
    assert mask_means.mask_means(features, packed(masks[:0]), SIZE).shape == (0, 6)
    monkeypatch.setattr(mask_means, "STRIP", 6 * SIZE[1] * 5)  # five rows at a time
    parts = list(mask_means.strips(SIZE, features))
    assert [rows.stop - rows.start for rows, _ in parts] == [5] * 7 + [2]
    torch.testing.assert_close(torch.cat([strip for _, (strip,) in parts], dim=1), whole, atol=2e-6, rtol=1e-5)


def test_otsu_parts_two_heaps_and_agrees_with_every_split() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(-0.8, 0.05, 900), rng.normal(0.1, 0.1, 100)]).astype(np.float32)
    found = otsu(values.reshape(20, 50))
    assert -0.7 < found < -0.2
    counts, edges = np.histogram(values, 256)
    middles = (edges[1:] + edges[:-1]) / 2

    def between(k: int) -> float:
        low, high = counts[: k + 1], counts[k + 1 :]
        means = (low @ middles[: k + 1] / low.sum(), high @ middles[k + 1 :] / high.sum())
        return float(low.sum() * high.sum() * (means[0] - means[1]) ** 2)

    assert between(int(np.abs(middles - found).argmin())) == pytest.approx(max(map(between, range(255))), rel=1e-6)
    assert otsu(np.full((3, 4), 0.25)) == 0.25 and math.isnan(otsu(np.zeros((0, 3))))
    assert otsu(np.append(values, [np.nan, np.inf])) == found


def test_histograms_of_a_darker_date() -> None:
    rng = np.random.default_rng(4)
    like = rng.integers(0, 256, (31, 45, 3), dtype=np.uint8)
    darker = (like // 3 + np.array([0, 10, 20], np.uint8)).astype(np.uint8)
    found = match_histogram(darker, like)
    assert np.abs(found.astype(int) - like).mean() < 2 and np.abs(darker.astype(int) - like).mean() > 50
    assert np.array_equal(match_histogram(like, like), like)
    order = np.argsort(darker[..., 1], axis=None, kind="stable")
    assert (np.diff(found[..., 1].ravel()[order].astype(int)) >= 0).all()
    valid = np.zeros((31, 45), bool)
    valid[:20] = True
    spoiled = darker.copy()
    spoiled[20:] = 255
    assert np.array_equal(match_histogram(spoiled, like, valid=valid, like_valid=valid)[:20],
                          match_histogram(darker[:20], like[:20]))  # fmt: skip
    assert np.array_equal(match_histogram(darker, like, like_valid=np.zeros((31, 45), bool)), darker)


def test_existence_sums_up_the_overlaps() -> None:
    masks = dated(some_masks(12, 5), some_masks(15, 6))
    before, after = (np.array([whole(m) for m in s]) for s in (masks.before, masks.after))
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in after] for a in before])
    found = np.zeros_like(iou)
    for i, j, overlap in existence.overlaps(masks.before, masks.after):
        found[i, j] = overlap
    assert np.allclose(found, iou, atol=1e-12) and (iou > 0).sum() > 10
    for most in (0.01, 0.2):
        kept = existence.only_once(masks, most=most)
        expected = np.concatenate([iou.sum(axis=1), iou.sum(axis=0)]) <= most
        assert np.array_equal(kept.masks.boxes, masks.masks.boxes[expected]) and 0 < len(kept) < 27
    assert len(existence.only_once(masks.take(masks.second))) == 15


def whole(item: tuple[int, int, NDArray[np.bool_]]) -> NDArray[np.bool_]:
    row, col, mask = item
    out = np.zeros(SIZE, bool)
    out[row : row + mask.shape[0], col : col + mask.shape[1]] = mask
    return out


def test_classes_of_masks() -> None:
    rng = np.random.default_rng(7)
    masks = some_masks(8, 8)
    probabilities = rng.uniform(size=(3, *SIZE)).astype(np.float32)
    found = identify.mean_probabilities(probabilities, packed(masks))
    assert np.allclose(found, [probabilities[:, m].mean(axis=1) for m in masks], atol=1e-6)
    classes, score = identify.mask_classes(found, threshold=float(np.sort(found.max(axis=1))[3]))
    assert np.array_equal(classes, np.where(score >= np.sort(score)[3], found.argmax(axis=1), 0))
    dot = np.zeros((1, *SIZE), bool)
    dot[0, 1, 1] = True
    lost = identify.mean_probabilities(probabilities[:, ::9, ::9], packed(dot))
    assert np.isnan(lost).all() and identify.mask_classes(lost)[0].tolist() == [0]
    assert identify.mask_classes(np.zeros((0, 3), np.float32))[0].shape == (0,)


def test_what_was_built_and_what_is_gone() -> None:
    """At its own date a mask must show what was asked for."""
    masks = dated(some_masks(4, 9), some_masks(4, 10))
    before = np.array([1, 0, 1, 0, 1, 0, 1, 0])
    after = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    assert identify.identified(masks, before, after).tolist() == [True, *[False] * 4, True, False, False]
    assert np.array_equal(identify.identified(masks, before, after, instances=False), before != after)


class TestWithFeatures:
    """A scene whose features turn inside one mask of each date alone."""

    before, after = some_masks(6, 11), some_masks(6, 12)

    def features(self) -> tuple[torch.Tensor, torch.Tensor]:
        one = torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(3)) * 0.1
        one[0] += 1
        other = one + 0.02 * torch.randn(8, *SIZE, generator=torch.Generator().manual_seed(4))
        for mask in (self.before[2], self.after[4]):
            other[:, torch.from_numpy(mask)] *= -1
        return one, other

    def test_the_mask_that_changed_is_found(self) -> None:
        masks = dated(self.before, self.after)
        found = anychange.any_change(masks, *self.features(), theta=60)
        assert {2, 10} <= set(found.index.tolist())
        assert (np.diff(masks.masks.scores[found.index]) <= 0).all()
        assert (found.scores > math.cos(math.radians(60))).all()
        assert set(anychange.any_change(masks, *self.features(), theta=60, both=False).index) <= set(range(6, 12))
        counts = [len(anychange.any_change(masks, *self.features(), theta=t, nms=1).index) for t in (20, 90, 120, 180)]
        assert counts == sorted(counts) and counts[0] >= 2 and counts[-1] == 12

    def test_no_masks(self) -> None:
        none = dated(self.before[:0], self.after[:0])
        assert len(anychange.any_change(none, *self.features()).index) == 0
        assert len(dynamicearth.proposals(none.before, none.after)) == 0
        probabilities = np.zeros((2, *SIZE), np.float32)
        kept, _, scores = dynamicearth.mask_compare_identify(none, self.features(), (probabilities, probabilities))
        assert len(kept) == len(scores) == 0 and not kept.masks.union().any()
        assert len(dynamicearth.identify_mask_compare(none, self.features())[0]) == 0

    def test_a_click(self) -> None:
        """Of two kinds of things that changed, those that look like the one that was clicked."""
        one, other = torch.zeros(4, *SIZE), torch.zeros(4, *SIZE)
        one[0], other[0] = 1.0, 1.0
        masks = np.zeros((4, *SIZE), bool)
        for i, (row, col) in enumerate([(2, 2), (2, 20), (20, 2), (20, 30)]):
            masks[i, row : row + 8, col : col + 10] = True
            other[:, row : row + 8, col : col + 10] = torch.eye(4)[1 + i % 2][:, None, None]
        after = dated(masks[:0], masks)
        query = anychange.query_of(packed(masks[:1]), other)
        assert query.area == 80 and query.vector.argmax() == 1
        assert anychange.resembling(after, query, one, other).tolist() == [True, False, True, False]
        both = anychange.mean_query([query, anychange.query_of(packed(masks[1:2]), other)])
        assert anychange.resembling(after, both, one, other).tolist() == [True] * 4
        small = anychange.ClickQuery(vector=query.vector, area=20.0)
        assert not anychange.resembling(after, small, one, other).any()  # four times as large, which is too much

    def test_an_angle_that_is_none(self) -> None:
        with pytest.raises(UsageError, match="between 0 and 180 degrees, got 200"):
            matching.turned(np.zeros(2, np.float32), 200)
        with pytest.raises(UsageError, match="one grid"):
            DatedMasks.join(packed(self.before), packed(some_masks(2, 1, (30, 30))))


def test_the_strongest_of_many() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1, 0.5, 0.7], np.float32)
    assert matching.strongest(scores, 2).tolist() == [False, True, False, False, False, True]
    assert matching.strongest(scores, 3).tolist() == [False, True, False, False, False, True]  # the fourth is as good
    assert matching.strongest(scores, 6).all()


def test_theta_of_otsu_keeps_what_is_above_its_threshold() -> None:
    features = [torch.randn(5, 6, 9, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    theta = matching.found_theta(*features, SIZE)
    change = mask_means.pixel_change(*features, SIZE)
    assert np.array_equal(matching.turned(change, theta), change > np.float32(math.cos(math.radians(theta))))
    near = np.float32(-0.9999) + np.array([0, 1e-7, 2e-7], np.float32)  # no room for 256 bins: nothing has turned
    assert not (near > otsu(near)).any()
    assert otsu(change) == pytest.approx(math.cos(math.radians(theta)), abs=1e-6)


def test_pairs_of_overlapping_masks_far_apart_are_not_looked_at() -> None:
    """Tall masks above, small ones below: each pair once, whatever the order of the boxes."""
    masks = np.zeros((4, *SIZE), bool)
    masks[0, :, 3:5], masks[1, 30:, :9], masks[2, 0, 0], masks[3, 31:33, 2:20] = True, True, True, True
    found = {(i, j) for i, j, _ in existence.overlaps(packed(masks), packed(masks[::-1]))}
    expected = {(i, 3 - j) for i, j in itertools.product(range(4), repeat=2) if (masks[i] & masks[j]).any()}
    assert found == expected
