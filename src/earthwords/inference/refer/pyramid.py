"""Squares of a scene for a model that looks at images of one size: fine ones, and coarser ones that show more ground.

Level 0 is the working grid; every further level has pixels twice as large, until the region fits one view. Views of a
level overlap; `core` is the part of a view that no other view of its level decides, so that cores tile the region.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.geo.grids.tiling import axis_starts
from earthwords.geo.scene import Scene
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.types import Window


@dataclass(frozen=True, kw_only=True)
class View:
    """A part of a scene that is looked at together."""

    shape: tuple[int, int]
    """Rows and columns of the grid of the view's level, over all of the scene."""
    window: Window
    """In pixels of that grid."""
    core: Window
    """Inside `window`, in the same pixels."""
    level: int = 0
    """How often the pixels of the working grid were doubled."""
    whole: bool = False
    """All of the region: the model fits it to its square as its authors do; else what lacks to a square is filled."""

    def read(self, scene: Scene, policy: FailurePolicy) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixels `(3, row, col)`, 0..1 and 0 where nothing was observed, and valid `(row, col)`, of the window."""
        scene = scene.gridded(self.shape)
        return read_twice(scene.read, self.window, scene.grid, policy)


def region_on(scene: Scene) -> Window:
    """The region asked for in pixels of the scene's working grid, rounded outwards."""
    tall, wide = (g / n for g, n in zip(scene.grid.shape, scene.native.shape, strict=True))
    part = scene.region
    row, col = math.floor(part.row * tall + 1e-6), math.floor(part.col * wide + 1e-6)
    row_stop = min(scene.grid.height, max(row + 1, math.ceil(part.row_stop * tall - 1e-6)))
    col_stop = min(scene.grid.width, max(col + 1, math.ceil(part.col_stop * wide - 1e-6)))
    return Window(row=row, col=col, height=row_stop - row, width=col_stop - col)


def levels(scene: Scene, side: int) -> Iterator[Scene]:
    """The scene at its working grid, then with pixels twice as large again and again, until the region fits `side`."""
    longest, step = max(scene.grid.shape), 0
    while True:
        yield scene
        part = region_on(scene)
        if max(part.height, part.width) <= side:
            return
        step += 1
        scene = scene.within(max(1, math.ceil(longest / 2**step)))


def views(scene: Scene, side: int, overlap: int, *, level: int = 0) -> list[View]:
    """Views of `side` pixels that cover the region of a level, row after row.

    Raises:
        UsageError: the overlap is impossible.
    """
    if not 0 <= overlap < side:
        raise UsageError(f"Views of {side} pixels cannot overlap by {overlap}.")
    part = region_on(scene)
    if max(part.height, part.width) <= side:
        return [View(shape=scene.grid.shape, window=part, core=part, level=level, whole=True)]
    rows = _cuts(part.row, part.height, side, side - overlap)
    cols = _cuts(part.col, part.width, side, side - overlap)
    return [
        View(
            shape=scene.grid.shape,
            window=Window(row=row[0], col=col[0], height=row[1], width=col[1]),
            core=Window(row=row[2], col=col[2], height=row[3] - row[2], width=col[3] - col[2]),
            level=level,
        )
        for row in rows
        for col in cols
    ]


def _cuts(first: int, length: int, side: int, stride: int) -> list[tuple[int, int, int, int]]:
    """Of each view along an axis: start, length, and where its core begins and ends, halfway to its neighbours."""
    starts, size = axis_starts(length, side, stride), min(side, length)
    middles = [(a + size + b) // 2 for a, b in pairwise(starts)]
    cores = zip([0, *middles], [*middles, length], strict=True)
    return [(first + s, size, first + low, first + high) for s, (low, high) in zip(starts, cores, strict=True)]


def around(scene: Scene, row: float, col: float, extent: float, side: int) -> View:
    """A square view with the centre `(row, col)`, in pixels of the working grid, that shows `extent` of them or more.

    Its pixels are those of the working grid, or larger where `extent` is more than `side`. It stays in the region as
    far as that goes.
    """
    factor = max(1.0, extent / side)
    level = scene if factor == 1 else scene.within(max(1, math.floor(max(scene.grid.shape) / factor)))
    tall, wide = (a / b for a, b in zip(level.grid.shape, scene.grid.shape, strict=True))
    part = region_on(level)
    height, width = min(side, part.height), min(side, part.width)
    top = min(max(round(row * tall - height / 2), part.row), part.row_stop - height)
    left = min(max(round(col * wide - width / 2), part.col), part.col_stop - width)
    window = Window(row=top, col=left, height=height, width=width)
    whole = window == part and max(height, width) <= side
    return View(shape=level.grid.shape, window=window, core=window, whole=whole)


def filled(pixels: Tensor, valid: Tensor, view: View, side: int, mean: Tensor) -> Tensor:
    """Pixels `(3, row, col)`, 0..1, for a model that fits images to its square itself: `(3, row, col)`, 0..255.

    What was not observed takes the colour `mean` (0..1), and so does what a view of a part lacks to `side` pixels.
    """
    colour = mean[:, None, None]
    image = torch.where(valid, pixels, colour)
    if not view.whole and image.shape[1:] != (side, side):
        square = colour.expand(3, side, side).clone()
        square[:, : image.shape[1], : image.shape[2]] = image
        image = square
    return image * 255
