"""Blocks cover the part asked for once, and runs of them what is wanted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthwords.inference.windows.blocks import Blocks, cut
from earthwords.inference.windows.resize import CELL_COLS, CELL_ROWS
from earthwords.types import Window

regions = st.builds(
    Window, row=st.integers(0, 99), col=st.integers(0, 99), height=st.integers(1, 400), width=st.integers(1, 5000)
)


@settings(max_examples=60, deadline=None)
@given(regions, st.integers(1, 6), st.integers(1, 6))
def test_blocks_cover_the_region_once(region: Window, rows: int, cols: int) -> None:
    blocks = Blocks(region=region, rows=rows * CELL_ROWS, cols=cols * CELL_COLS)
    seen = np.zeros((region.height, region.width), int)
    for index in range(len(blocks)):
        window = blocks.window(index)
        assert window.intersect(region) == window
        assert (window.row - region.row) % CELL_ROWS == 0 and (window.col - region.col) % CELL_COLS == 0
        seen[window.row - region.row : window.row_stop - region.row, window.col - region.col :][:, : window.width] += 1
    assert (seen == 1).all()
    assert [i for row in range(blocks.down) for i in blocks.band(row)] == list(range(len(blocks)))


@settings(max_examples=60, deadline=None)
@given(regions, st.sets(st.integers(0, 40)))
def test_runs_hold_what_is_wanted_once(region: Window, numbers: set[int]) -> None:
    blocks = Blocks(region=region, rows=CELL_ROWS, cols=CELL_COLS)
    wanted = {number for number in numbers if number < len(blocks)}
    found = []
    for first, count in blocks.runs(wanted):
        run = [first + i * blocks.across for i in range(count)]
        window = blocks.window(first, count=count)
        assert window.height == sum(blocks.window(i).height for i in run)
        assert window.col == blocks.window(run[-1]).col
        assert run[0] - blocks.across not in wanted and run[-1] + blocks.across not in wanted, "as long as possible"
        found += run
    assert sorted(found) == sorted(wanted)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 9))
def test_cuts_lie_on_cells_and_are_no_wider_than_allowed(height: int, width: int, cols: int, workers: int) -> None:
    region = Window(row=7, col=11, height=height, width=width)
    blocks = cut(region, cols=cols, workers=workers)
    assert blocks.rows % CELL_ROWS == 0
    assert blocks.across == 1 or (blocks.cols % CELL_COLS == 0 and blocks.cols <= max(cols, CELL_COLS))


@pytest.mark.parametrize(("side", "workers", "expected"), [(1000, 2, 1024), (6000, 2, 2048), (60_000, 8, 4096)])
def test_workers_share_squares_that_are_many_enough(side: int, workers: int, expected: int) -> None:
    blocks = cut(Window(row=0, col=0, height=side, width=side), cols=side, workers=workers)
    assert (blocks.rows, blocks.cols) == (expected, expected)
    assert side <= 1024 or len(blocks) >= 3 * workers
