"""The best way to give masks their classes, against trying all of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.inference.instances.instructsam import assign as module
from earthwords.inference.instances.instructsam.assign import assign


def best_of_all(similarity: np.ndarray, counts: list[int]) -> float:
    masks, classes = similarity.shape
    exact = masks > sum(counts)
    best = -np.inf
    for choice in product(range(-1, classes), repeat=masks):
        numbers = [choice.count(c) for c in range(classes)]
        allowed = (
            numbers == counts
            if exact
            else -1 not in choice and all(n <= c for n, c in zip(numbers, counts, strict=True))
        )
        if allowed:
            best = max(best, sum(similarity[i, c] for i, c in enumerate(choice) if c >= 0))
    return best


@pytest.mark.parametrize("cells", [4_000_000, 0])
def test_no_other_way_is_better(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(module, "MOST_CELLS", cells)
    rng = np.random.default_rng(5)
    for _ in range(25):
        masks, classes = int(rng.integers(1, 7)), int(rng.integers(1, 4))
        counts = rng.integers(0, 4, classes).tolist()
        similarity = np.round(rng.random((masks, classes)), 1).astype(np.float32)  # with ties
        if masks > sum(counts) or sum(min(c, masks) for c in counts) >= masks:
            found = assign(similarity, counts)
            total = sum(float(similarity[i, c]) for i, c in enumerate(found) if c >= 0)
            assert total == pytest.approx(best_of_all(similarity, counts), abs=1e-6), (similarity, counts)


def test_many_masks_are_solved_in_both_ways_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    similarity = np.random.default_rng(2).random((300, 5)).astype(np.float32)
    counts = [40, 3, 0, 70, 11]
    first = assign(similarity, counts)
    monkeypatch.setattr(module, "MOST_CELLS", 0)
    np.testing.assert_array_equal(assign(similarity, counts), first)
    assert np.bincount(first + 1).tolist() == [176, 40, 3, 0, 70, 11]


@pytest.mark.parametrize("counts", [[1, -1], [1.5, 0], [1, 2, 3], [float("nan"), 1]])
def test_counts_that_cannot_be(counts: list[float]) -> None:
    with pytest.raises(UsageError):
        assign(np.ones((4, 2)), counts)


def test_without_masks() -> None:
    assert assign(np.zeros((0, 3), np.float32), [1, 2, 3]).shape == (0,)
    assert assign(np.zeros((4, 2), np.float32), [0, 0]).tolist() == [-1] * 4
