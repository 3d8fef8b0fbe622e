"""The method `dense` on probabilities whose changes are known."""

from __future__ import annotations

import numpy as np
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import shape

from earthwords.inference.change.dates.pieces import LEAST
from earthwords.inference.change.dates.windows import Comparison
from earthwords.inference.change.dense import compare, evidence
from earthwords.inference.change.guided import GuidedFilter

SHAPE = (150, 190)


def day(*boxes: tuple[int, int, int, int], shift: tuple[int, int] = (0, 0), sure: float = 0.95) -> np.ndarray:
    """Probabilities `(2, row, col)` of buildings in boxes, and of the rest, soft at their edges."""
    built = np.zeros(SHAPE)
    for row, col, stop, col_stop in boxes:
        built[row + shift[0] : stop + shift[0], col + shift[1] : col_stop + shift[1]] = 1
    soft = ndimage.gaussian_filter(built, 2) * (sure - 0.03) + 0.03
    return np.stack([soft, 1 - soft]).astype(np.float32)


def found(before: np.ndarray, after: np.ndarray, **how: float) -> Comparison:
    """With pictures that differ by half as much as the probabilities of the first class."""
    rng = np.random.default_rng(2)
    guide = (0.5 * (after[0] - before[0]) + rng.normal(0, 0.01, (3, *SHAPE))).astype(np.float32)
    return compare([before], [after], guide, np.ones(SHAPE, bool), **how)


OLD, NEW, GONE = (20, 20, 50, 60), (90, 30, 120, 70), (60, 120, 95, 160)


def test_new_gone_and_the_same() -> None:
    result = found(day(OLD, GONE), day(OLD, NEW))
    changed = result.score > 0
    truth = np.zeros(SHAPE, int)
    truth[NEW[0] : NEW[2], NEW[1] : NEW[3]], truth[GONE[0] : GONE[2], GONE[1] : GONE[3]] = 1, 2
    assert (changed & (truth > 0)).sum() / (changed | (truth > 0)).sum() > 0.75
    new, gone = changed & (truth == 1), changed & (truth == 2)
    assert (result.before[new] == 1).all() and (result.after[new] == 0).all()
    assert (result.before[gone] == 0).all() and (result.after[gone] == 1).all()
    assert (result.before[~changed] == result.after[~changed]).all() and (result.after[30:40, 30:50] == 0).all()


def test_a_shift_of_some_pixels_is_no_change() -> None:
    assert not (found(day(OLD, GONE), day(OLD, GONE, shift=(3, -4))).score > 0).any()
    assert (found(day(OLD, GONE), day(OLD, GONE, shift=(3, 25))).score > 0).any()


def test_less_sure_is_no_change_but_gone_is() -> None:
    assert not (found(day(OLD, sure=0.95), day(OLD, sure=0.55)).score > 0).any()
    assert (found(day(OLD, sure=0.85), day()).score > 0).any()


def test_small_things_and_the_threshold() -> None:
    side = int(LEAST**0.5) - 2
    tiny = (70, 70, 70 + side, 70 + side)
    assert not (found(day(), day(tiny)).score > 0).any()
    area = [(found(day(), day(NEW), edge=edge).score > 0).sum() for edge in (0.3, 0.5, 0.7)]
    assert area[0] > area[1] > area[2] > 0


def test_lengths_grow_with_the_zoom() -> None:
    shifted = day(OLD, GONE), day(OLD, GONE, shift=(14, 14))
    assert (found(*shifted).score > 0).any()
    assert not (found(*shifted, zoom=3.0).score > 0).any()


def test_unseen_pixels_do_not_change() -> None:
    seen = np.ones(SHAPE, bool)
    seen[:, 50:] = False
    guide = np.zeros((3, *SHAPE), np.float32)
    result = compare([day()], [day(NEW)], guide, seen)
    assert (result.score > 0)[:, :50].any() and not (result.score > 0)[:, 50:].any()


def test_from_class_to_class() -> None:
    grass, water, roof = (np.full(SHAPE, value, np.float32) for value in (0.9, 0.05, 0.05))
    before = np.stack([grass, water, roof])
    after = before.copy()
    after[:, 40:90, 60:120] = np.array([0.05, 0.9, 0.05], np.float32)[:, None, None]
    result = found(before, after)
    changed = result.score > 0
    assert changed[50:80, 70:110].all() and not changed[:30].any()
    assert (result.before[changed] == 0).all() and (result.after[changed] == 1).all()


def test_evidence_is_against_the_likeliest_other_class() -> None:
    flat = np.array([0.6, 0.3, 0.1], np.float32)[:, None, None] * np.ones((1, 5, 6), np.float32)
    odds = evidence([flat])[:, 2, 3]
    most = 2 * np.log(0.98 / 0.02)
    assert np.allclose(odds, [0.5 + np.log(2) / most, 0.5 - np.log(2) / most, 0.5 - np.log(6) / most], atol=1e-5)


def test_the_guided_filter_keeps_the_edges_of_its_guide() -> None:
    rng = np.random.default_rng(0)
    step = np.zeros((60, 80), np.float32)
    step[:, 37:] = 1
    guide = np.stack([step, rng.normal(0, 0.02, step.shape), step * 0]).astype(np.float32)
    noisy = (step + rng.normal(0, 0.3, step.shape)).astype(np.float32)
    smooth = GuidedFilter(guide, radius=6, regularity=1e-3)(noisy)
    assert smooth[:, :37].mean() < 0.05 and smooth[:, 37:].mean() > 0.95
    assert np.abs(smooth[:, 36:38].mean(axis=0) - (0, 1)).max() < 0.12
    assert np.abs(smooth - step).mean() < 0.25 * np.abs(noisy - step).mean()


def test_the_guided_filter_solves_the_linear_model() -> None:
    rng = np.random.default_rng(5)
    guide, picture = rng.normal(size=(3, 21, 23)).astype(np.float32), rng.normal(size=(21, 23)).astype(np.float32)
    radius, regularity = 2, 0.3
    slopes = np.zeros((21, 23, 4))
    for row in range(radius, 21 - radius):
        for col in range(radius, 23 - radius):
            part = np.s_[row - radius : row + radius + 1, col - radius : col + radius + 1]
            points, values = guide[:, *part].reshape(3, -1), picture[part].ravel()
            centred = points - points.mean(axis=1, keepdims=True)
            covariance = centred @ centred.T / points.shape[1] + regularity * np.eye(3)
            slope = np.linalg.solve(covariance, centred @ (values - values.mean()) / points.shape[1])
            slopes[row, col] = *slope, values.mean() - slope @ points.mean(axis=1)
    smooth = GuidedFilter(guide, radius=radius, regularity=regularity)(picture)
    for row, col in ((7, 9), (12, 15)):
        mean = slopes[row - 2 : row + 3, col - 2 : col + 3].mean(axis=(0, 1))
        assert abs(smooth[row, col] - (mean[:3] @ guide[:, row, col] + mean[3])) < 1e-4


def test_no_change_from_class_to_class_is_smaller_than_told() -> None:
    """As polygons count: pixels that touch by sides and go from one class to one class."""
    rng = np.random.default_rng(3)
    dates = []
    for _ in range(2):
        odds = ndimage.gaussian_filter(rng.normal(size=(4, *SHAPE)), (0, 3, 3)) * 80
        dates.append((np.exp(odds) / np.exp(odds).sum(axis=0)).astype(np.float32))
    guide = rng.normal(0, 0.3, (3, *SHAPE)).astype(np.float32)
    for zoom in (1.0, 1.4):
        result = compare([dates[0]], [dates[1]], guide, np.ones(SHAPE, bool), zoom=zoom, edge=0.1)
        pairs = (result.before * 4 + result.after).astype(np.int32)
        changed = result.before != result.after
        sizes = [shape(one).area for one, _ in shapes(pairs, mask=changed, connectivity=4)]
        assert len(sizes) > 20 and min(sizes) >= LEAST * zoom**2
        assert np.array_equal(result.score > 0, changed)
