"""How a grid is cut into overlapping windows of one size."""

from __future__ import annotations

from earthwords.errors import UsageError
from earthwords.types import Window


def axis_starts(length: int, tile: int, stride: int) -> tuple[int, ...]:
    """First pixels of the tiles along an axis of `length` pixels, ascending, none twice.

    Start `i` is `i * stride`; the last one is shifted back so that its tile ends at the border, or lies
    at 0 when the axis is shorter than a tile. Every pixel is covered.

    Raises:
        UsageError: a size is not positive, or `stride` exceeds `tile` and would leave gaps.
    """
    if length < 1 or tile < 1 or stride < 1:
        raise UsageError(f"Length, tile and stride must be at least 1, got {length}, {tile} and {stride}.")
    if stride > tile:
        raise UsageError(f"A stride of {stride} with tiles of {tile} pixels leaves gaps; use at most {tile}.")
    count = max(length - tile + stride - 1, 0) // stride + 1
    last = max(length - tile, 0)
    return tuple(min(i * stride, last) for i in range(count))


def windows(height: int, width: int, *, tile: int, stride: int) -> list[Window]:
    """Windows of `min(tile, axis)` pixels that cover `height x width`, row after row."""
    rows = axis_starts(height, tile, stride)
    cols = axis_starts(width, tile, stride)
    size = {"height": min(tile, height), "width": min(tile, width)}
    return [Window(row=row, col=col, **size) for row in rows for col in cols]
