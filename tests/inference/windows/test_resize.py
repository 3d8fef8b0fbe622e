"""Streamed resizing equals torch's interpolate on the whole image, however the strips are cut."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from earthwords.inference.windows.resize import RowResizer
from earthwords.types import Window

sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(st.data(), sizes, sizes, sizes, sizes)
def test_strips_equal_the_whole(data: st.DataObject, h: int, w: int, height: int, width: int) -> None:
    image = torch.randn(3, h, w, generator=torch.Generator().manual_seed(h * 100 + w))
    row = data.draw(st.integers(0, height - 1))
    col = data.draw(st.integers(0, width - 1))
    region = Window(
        row=row,
        col=col,
        height=data.draw(st.integers(1, height - row)),
        width=data.draw(st.integers(1, width - col)),
    )
    most = data.draw(st.integers(1, height))
    resizer = RowResizer(source=(h, w), target=(height, width), region=region, most_rows=most)
    needed = resizer.needed
    rows, cols = needed.slices
    part = image[:, rows, cols]
    cuts = sorted({0, needed.height, *data.draw(st.lists(st.integers(0, needed.height), max_size=4))})
    strips = [(needed.row + a, part[:, a:b]) for a, b in itertools.pairwise(cuts)]
    out = list(resizer.resize(strips))
    assert [r for r, _ in out] == [region.row + sum(x.shape[1] for _, x in out[:i]) for i in range(len(out))]
    assert (h == height and w == width) or all(x.shape[1] <= most for _, x in out)
    whole = F.interpolate(image[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    wanted = whole[:, region.row : region.row_stop, region.col : region.col_stop]
    torch.testing.assert_close(torch.cat([x for _, x in out], dim=1), wanted, atol=2e-5, rtol=1e-5)


def test_rows_that_no_pixel_needs_may_end_a_strip() -> None:
    image = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    resizer = RowResizer(source=(5, 3), target=(2, 3), region=Window(row=0, col=0, height=2, width=3))
    assert resizer.needed.slices[0] == slice(0, 5), "of which row 2 lies under no output row"
    out = list(resizer.resize([(0, image[:, :2]), (2, image[:, 2:])]))
    whole = F.interpolate(image[None], size=(2, 3), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(torch.cat([x for _, x in out], dim=1), whole)


def test_same_size_passes_through() -> None:
    region = Window(row=2, col=1, height=5, width=3)
    resizer = RowResizer(source=(9, 7), target=(9, 7), region=region)
    strip = torch.randn(2, 5, 3)
    assert resizer.needed == region
    assert [(r, x is strip) for r, x in resizer.resize([(2, strip)])] == [(2, True)]
