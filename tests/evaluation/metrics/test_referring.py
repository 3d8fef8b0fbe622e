"""The figures of referring segmentation, on counts that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.referring import ReferringCounts


def masks(both: int, truth: int, found: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Truth and prediction of so many pixels, of which `both` are shared, on 20 x 30 pixels."""
    cells = np.arange(600).reshape(20, 30)
    return cells < truth, (cells >= truth - both) & (cells < truth - both + found)


def test_mean_and_pooled_differ() -> None:
    seen = ReferringCounts()
    seen.add(*masks(30, 40, 50), category="ship")  # 30 / 60
    seen.add(*masks(9, 10, 9), category="ship")  # 9 / 10
    seen.add(*masks(100, 200, 100), category="lake")  # 100 / 200
    scores = seen.scores()
    assert scores.gIoU == pytest.approx((0.5 + 0.9 + 0.5) / 3)
    assert scores.cIoU == pytest.approx(139 / 270)
    assert scores.precision == pytest.approx({0.5: 1 / 3, 0.6: 1 / 3, 0.7: 1 / 3, 0.8: 1 / 3, 0.9: 0})
    assert scores.category_iou == pytest.approx({"ship": 0.7, "lake": 0.5})
    told = scores.as_json()
    assert told["mIoU"] == told["gIoU"] == pytest.approx(63.3333, abs=1e-3)
    assert told["oIoU"] == told["cIoU"] and told["mean_iou"] == pytest.approx(60)


@pytest.mark.parametrize(
    ("rule", "mean", "half", "samples"), [("hit", 0.8, 1, 3), ("nan", math.nan, 2 / 3, 3), ("skip", 0.7, 1, 2)]
)
def test_empty_masks(rule: str, mean: float, half: float, samples: int) -> None:
    seen = ReferringCounts(empty=rule)  # type: ignore[arg-type]
    for counts in ((60, 100, 60), (80, 100, 80), (0, 0, 0)):
        seen.add(*masks(*counts))
    scores = seen.scores()
    assert scores.gIoU == pytest.approx(mean, nan_ok=True)
    assert scores.precision[0.5] == pytest.approx(half) and scores.samples == samples
    assert scores.cIoU == pytest.approx(140 / 200), "nothing and nothing do not change the pooled figure"
    assert (scores.no_target, scores.no_target_accuracy, scores.target_accuracy) == (1, 1.0, 1.0)


@pytest.mark.parametrize("rule", ["hit", "nan", "skip"])
def test_one_empty_mask_is_a_miss(rule: str) -> None:
    seen = ReferringCounts(empty=rule)  # type: ignore[arg-type]
    seen.add(*masks(0, 0, 50))
    seen.add(*masks(0, 70, 0))
    scores = seen.scores()
    assert (scores.gIoU, scores.cIoU, scores.precision[0.5], scores.samples) == (0, 0, 0, 2)
    assert (scores.no_target_accuracy, scores.target_accuracy) == (0.0, 0.0)


def test_ignored_pixels() -> None:
    truth, found = masks(30, 40, 50)
    labels = truth.astype(np.uint8)
    labels[~truth & found] = 255  # the 20 that are too many
    seen = ReferringCounts()
    seen.add(labels, found.astype(np.uint8) * 7)
    assert seen.scores().gIoU == 30 / 40
    strict = ReferringCounts(ignore=None)
    strict.add(labels, found)
    assert strict.scores().gIoU == 50 / 60


def test_parts_of_several_processes() -> None:
    whole, parts = ReferringCounts(), [ReferringCounts(), ReferringCounts()]
    for i, counts in enumerate(((30, 40, 50), (9, 10, 9), (0, 0, 0))):
        for one in (whole, parts[i % 2]):
            one.add(*masks(*counts), category=str(i % 2))
    joined = ReferringCounts()
    joined.extend(parts)
    assert len(joined) == 3 and joined.scores().as_json() == pytest.approx(whole.scores().as_json())


def test_refusals() -> None:
    with pytest.raises(UsageError, match="hit, nan or skip, got 'zero'"):
        ReferringCounts(empty="zero")  # type: ignore[arg-type]
    seen = ReferringCounts(empty="skip")
    with pytest.raises(UsageError, match=r"\(20, 30\).*\(30, 20\)"):
        seen.add(np.zeros((30, 20), bool), np.zeros((20, 30), bool))
    seen.add(*masks(0, 0, 0))
    with pytest.raises(UsageError, match="no sample"):
        seen.scores()
