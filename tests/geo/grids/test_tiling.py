"""Windows cover the grid, stay inside it, and none comes twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earthwords.errors import UsageError
from earthwords.geo.grids.tiling import axis_starts, windows
from earthwords.types import Window


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int]:
    tile = draw(st.integers(1, 60))
    return draw(st.integers(1, 300)), tile, draw(st.integers(1, tile))


@given(cuts())
def test_starts_cover_the_axis_once_in_order(cut: tuple[int, int, int]) -> None:
    length, tile, stride = cut
    starts = axis_starts(length, tile, stride)
    size = min(tile, length)
    covered = np.zeros(length, bool)
    for start in starts:
        assert 0 <= start <= length - size
        covered[start : start + size] = True
    assert covered.all()
    assert list(starts) == sorted(set(starts))
    assert all(start == i * stride for i, start in enumerate(starts[:-1]))


@given(cuts())
def test_starts_are_those_of_the_sliding_window_of_segmentation_papers(cut: tuple[int, int, int]) -> None:
    length, tile, stride = cut
    expected = []
    for i in range(max(length - tile + stride - 1, 0) // stride + 1):
        stop = min(i * stride + tile, length)
        expected.append(max(stop - tile, 0))
    assert list(axis_starts(length, tile, stride)) == expected


def test_windows_are_row_major_and_shrink_to_a_small_grid() -> None:
    assert windows(5, 12, tile=8, stride=4) == [
        Window(row=0, col=0, height=5, width=8),
        Window(row=0, col=4, height=5, width=8),
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((0, 4, 2), "at least 1"), ((9, 4, 0), "at least 1"), ((9, 4, 5), "stride of 5 with tiles of 4")],
)
def test_impossible_cuts_are_refused(arguments: tuple[int, int, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        axis_starts(*arguments)
