"""Streamed windows: every pixel is the mean of the windows that saw it, whatever is asked for."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal.windows import tukey
from torch import Tensor

from earthwords.geo.grids.tiling import axis_starts
from earthwords.inference.windows.sliding import Slide, WindowPlan, slide
from earthwords.jobs.threads import Pool
from earthwords.kernels.blend import MODES
from earthwords.types import Window


def position_logits(pixels: Tensor) -> Tensor:
    """Two logits that depend on the pixel and on its place in the window."""
    height, width = pixels.shape[-2:]
    ramp = torch.arange(height)[:, None] * 0.01 + torch.arange(width)[None] * 0.001
    return torch.stack([pixels[:, 0] + ramp, pixels[:, 1] * pixels[:, 2] - ramp], dim=1)


def one_by_one(pixels: Tensor, places: list[Window]) -> list[Tensor | None]:
    return list(position_logits(pixels))


def weights(blend: str, length: int) -> Tensor:
    """Of the pixels along a side of a window, by other formulas than the code's."""
    place = (torch.arange(length) + 0.5) / length
    return {
        "mean": torch.ones(length),
        "linear": 1 - (2 * place - 1).abs(),
        "cosine": (1 - torch.cos(2 * torch.pi * place)) / 2,
        "tukey": torch.from_numpy(tukey(2 * length + 1, 0.5)[1::2]).float(),
    }[blend]


def brute_force(image: Tensor, tile: int, stride: int, blend: str = "mean") -> Tensor:
    height, width = image.shape[-2:]
    total, count = torch.zeros(2, height, width), torch.zeros(height, width)
    weight = weights(blend, min(tile, height))[:, None] * weights(blend, min(tile, width))
    for top in axis_starts(height, tile, stride):
        for left in axis_starts(width, tile, stride):
            part = (slice(top, top + tile), slice(left, left + tile))
            total[:, part[0], part[1]] += weight * position_logits(image[None, :, part[0], part[1]])[0]
            count[part] += weight
    return total / count


cases = st.tuples(st.integers(5, 45), st.integers(5, 45), st.integers(4, 20), st.integers(1, 20), st.integers(1, 7))


@settings(max_examples=50, deadline=None)
@given(cases, st.sampled_from(MODES))
def test_stitching_equals_brute_force(case: tuple[int, int, int, int, int], blend: str) -> None:
    height, width, tile, stride, batch = case
    stride = min(stride, tile)
    image = torch.randn(3, height, width, generator=torch.Generator().manual_seed(1))
    found = slide(image, position_logits, queries=2, tile=tile, stride=stride, batch=batch, blend=blend, threads=2)
    torch.testing.assert_close(found, brute_force(image, tile, stride, blend), atol=1e-4, rtol=1e-4)


@settings(max_examples=50, deadline=None)
@given(st.data(), cases)
def test_a_region_has_the_values_of_the_whole(data: st.DataObject, case: tuple[int, int, int, int, int]) -> None:
    height, width, tile, stride, batch = case
    stride = min(stride, tile)
    image = torch.randn(3, height, width, generator=torch.Generator().manual_seed(2))
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    region = Window(
        row=row,
        col=col,
        height=data.draw(st.integers(1, height - row)),
        width=data.draw(st.integers(1, width - col)),
    )
    reads: list[Window] = []

    def read(window: Window) -> tuple[Tensor, Tensor]:
        reads.append(window)
        rows, cols = window.slices
        return image[:, rows, cols], torch.ones(window.height, window.width, dtype=torch.bool)

    plan = WindowPlan((height, width), tile, stride, region)
    with Pool(2) as pool:
        strips = list(Slide(plan=plan, queries=2, batch=batch).rows(read, one_by_one, pool=pool))
    rows = [(r, s.shape[1]) for r, s in strips]
    assert rows[0][0] == region.row and sum(n for _, n in rows) == region.height
    whole = brute_force(image, tile, stride)
    wanted = whole[:, region.row : region.row_stop, region.col : region.col_stop]
    torch.testing.assert_close(torch.cat([s for _, s in strips], dim=1), wanted, atol=1e-5, rtol=1e-5)
    assert len(reads) == len(plan.rows)
    assert all(r.row < region.row_stop and r.row_stop > region.row for r in reads)


def test_windows_without_a_valid_pixel_are_not_run() -> None:
    image = torch.randn(3, 30, 40)
    valid = torch.zeros(30, 40, dtype=torch.bool)
    valid[:, :9] = True
    ran: list[int] = []

    def run(pixels: Tensor, places: list[Window]) -> list[Tensor | None]:
        assert len(pixels) == len(places)
        ran.append(len(pixels))
        return list(position_logits(pixels))

    def read(window: Window) -> tuple[Tensor, Tensor]:
        rows, cols = window.slices
        return image[:, rows, cols], valid[rows, cols]

    ticks: list[int] = []
    plan = WindowPlan((30, 40), 10, 10)
    with Pool(2) as pool:
        strips = list(Slide(plan=plan, queries=2, batch=3).rows(read, run, pool=pool, tick=ticks.append))
    assert sum(ran) == 3, "one column of three windows"
    assert sum(ticks) == len(plan) == 12
    logits = torch.cat([s for _, s in strips], dim=1)
    assert logits.shape == (2, 30, 40)
    assert (logits[:, :, 10:] == 0).all() and (logits[:, :, :9] != 0).any()
