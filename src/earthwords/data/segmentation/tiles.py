"""Windows of large images, and the names of their tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.data.segmentation.spec import Tiling
from earthwords.geo.grids.tiling import axis_starts
from earthwords.types import Window


@dataclass(frozen=True, kw_only=True)
class NamedWindow:
    """A part of an image; `window` may reach beyond it, where it is filled up."""

    name: str
    window: Window


def tiles(name: str, size: tuple[int, int], tiling: Tiling | None) -> tuple[NamedWindow, ...]:
    """The tiles of an image of `size` (rows, columns), row by row; without tiling the image itself."""
    if tiling is None:
        return (NamedWindow(name=name, window=Window(row=0, col=0, height=size[0], width=size[1])),)
    height, width = tiling.height, tiling.width
    if not tiling.pad:
        height, width = min(height, size[0]), min(width, size[1])
    windows = [
        Window(row=row, col=col, height=height, width=width)
        for row in axis_starts(size[0], height, min(height, tiling.step or height))
        for col in axis_starts(size[1], width, min(width, tiling.step or width))
    ]
    return tuple(
        NamedWindow(
            name=tiling.name.format(name=name, top=w.row, left=w.col, bottom=w.row_stop, right=w.col_stop),
            window=w,
        )
        for w in windows
    )


def cut(pixels: NDArray[np.uint8], window: Window, *, fill: int) -> NDArray[np.uint8]:
    """`(row, col, ...)` of a window; beyond the image `fill`."""
    part = pixels[window.slices]
    below, right = window.height - part.shape[0], window.width - part.shape[1]
    if not below and not right:
        return part
    return np.pad(part, ((0, below), (0, right), *((0, 0),) * (pixels.ndim - 2)), constant_values=fill)
