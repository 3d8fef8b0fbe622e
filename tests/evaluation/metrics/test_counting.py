"""Numbers in sentences."""

from __future__ import annotations

import numpy as np
import pytest

from earthwords.errors import UsageError
from earthwords.evaluation.metrics.counting import DIGITS, WORDS, candidates, counting_scores


def test_only_the_number_changes() -> None:
    made = candidates("Someone sees two planes and one of two sheds.", 2)
    assert made == [f"Someone sees {word} planes and one of two sheds." for word in WORDS]
    assert candidates("Ten ships.", 10, "digits")[0] == "1 ships."
    assert candidates("a photo of 7 ships", 7)[6] == "a photo of seven ships"
    assert len(candidates("There is 1 stone", 1, "digits")) == 10, "not the one in stone"


@pytest.mark.parametrize(("text", "count"), [("no number", 3), ("twofold", 2), ("12 ships", 2)])
def test_a_sentence_without_its_number(text: str, count: int) -> None:
    with pytest.raises(UsageError, match="There is no"):
        candidates(text, count)


@pytest.mark.parametrize("count", [0, 11])
def test_counts_beyond_ten(count: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 10"):
        candidates("one ship", count)
    with pytest.raises(UsageError, match="from 1 to 10"):
        counting_scores(np.zeros((1, 10)), np.array([count]))


def test_figures() -> None:
    similarities = np.tile(np.arange(10, 0, -1.0), (3, 1))  # one is always nearest, ten farthest
    found = counting_scores(similarities, np.array([1, 2, 10]))
    assert [found[f"top{k}"] for k in (1, 2, 9, 10)] == pytest.approx([100 / 3, 200 / 3, 200 / 3, 100])
    assert found["mean_absolute_error"] == pytest.approx(10 / 3)
    assert found["shares"][1][0] == 1 and sum(map(sum, found["shares"])) == 3
    assert found["present"] == [n in (1, 2, 10) for n in range(1, 11)]
    assert len(DIGITS) == 10


@pytest.mark.parametrize("shape", [(3, 9), (2, 10), (0, 10)])
def test_arrays_that_do_not_fit(shape: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="needs 10 similarities"):
        counting_scores(np.zeros(shape), np.ones(3 if shape[0] else 0, int))
