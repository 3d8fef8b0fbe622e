"""Masks as COCO's annotations have them: polygons, run lengths, boxes. They are decoded where they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from earthwords.kernels.masks.run_lengths import runs_of_text
from earthwords.types import Window
from earthwords.viz.polygon_masks import filled

_STRIP = 2**22
"""Pixels that are drawn at once."""
_FAR = 2**24
"""Pixels: farther outside of an image no corner is taken to be."""


class Mask(Protocol):
    """A mask that takes little memory until it is looked at."""

    @property
    def window(self) -> Window | None:
        """Rows and columns of the image outside which nothing of it is; None: it is empty."""

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """`(row, col)` of a window of the image."""


def mask_of(segmentation: Any, height: int, width: int) -> Mask:
    """A mask of polygons, run lengths (a list, or compressed text), or a list with one of these.

    Raises:
        ValueError: it is none of them, or does not fit the image.
    """
    if isinstance(segmentation, list) and segmentation and isinstance(segmentation[0], dict):
        return _Several(masks=[mask_of(part, height, width) for part in segmentation])
    if isinstance(segmentation, list):
        return _Polygons.of(segmentation, height, width)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise ValueError("a mask is neither polygons nor run lengths")
    size = tuple(int(side) for side in segmentation.get("size", (height, width)))
    if size != (height, width):
        raise ValueError(f"a mask of {size[0]} x {size[1]} pixels belongs to an image of {height} x {width}")
    counts = segmentation["counts"]
    runs = runs_of_text(counts) if isinstance(counts, (str, bytes)) else [int(run) for run in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"the runs of a mask do not fill {height} x {width} pixels")
    return _Runs.of(runs, height)


def area_of(mask: Mask) -> int:
    """Pixels."""
    return 0 if mask.window is None else int(np.count_nonzero(mask.inside(mask.window)))


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle as a mask."""

    window: Window | None

    @classmethod
    def of(cls, box: Sequence[float], height: int, width: int) -> Box:
        """Of left, top, width and height."""
        left, top, across, down = box
        return cls(window=_clipped(round(top), round(left), round(top + down), round(left + across), height, width))

    def inside(self, window: Window) -> NDArray[np.bool_]:
        found = np.zeros((window.height, window.width), dtype=bool)
        common = None if self.window is None else window.intersect(self.window)
        if common is not None:
            found[common.slices_in(window)] = True
        return found


@dataclass(frozen=True, kw_only=True)
class _Runs:
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    """`(n,)` of runs of 1, column by column."""
    height: int
    window: Window | None

    @classmethod
    def of(cls, runs: Sequence[int], height: int) -> _Runs:
        ends = np.cumsum(np.array(runs, dtype=np.int64))
        stops = ends[1::2]
        starts = stops - np.array(runs[1::2], dtype=np.int64)
        starts, stops = starts[starts < stops], stops[starts < stops]
        if not len(starts):
            return cls(starts=starts, stops=stops, height=height, window=None)
        first, last = starts // height, (stops - 1) // height
        high = (first == last).all()  # else one of them turns from the foot of a column to the head of the next
        top, bottom = (int((starts % height).min()), int(((stops - 1) % height).max()) + 1) if high else (0, height)
        left, right = int(first.min()), int(last.max()) + 1
        window = Window(row=top, col=left, height=bottom - top, width=right - left)
        return cls(starts=starts, stops=stops, height=height, window=window)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        low, high = window.col * self.height, window.col_stop * self.height
        some = slice(np.searchsorted(self.stops, low, side="right"), np.searchsorted(self.starts, high))
        turns = np.stack([self.starts[some], self.stops[some]], axis=1).ravel().clip(low, high)
        lengths = np.diff(turns, prepend=low, append=high)
        columns = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(window.width, self.height)
        return columns[:, window.row : window.row_stop].T


@dataclass(frozen=True, kw_only=True)
class _Polygons:
    """Filled rings, as pixels whose centres they hold, nearly."""

    rings: list[NDArray[np.int64]]
    """`(n, 2)` x, y each."""
    window: Window | None

    @classmethod
    def of(cls, rings: Sequence[Any], height: int, width: int) -> _Polygons:
        """Of lists of x, y, x, y ..."""
        kept = []
        for ring in rings:
            points = np.asarray(ring, dtype=np.float64).reshape(-1, 2) - 0.5
            if len(points) > 2 and np.isfinite(points).all():
                kept.append(np.trunc(points.clip(-_FAR, _FAR)).astype(np.int64))  # as Pillow itself would
        if not kept:
            return cls(rings=kept, window=None)
        (left, top), (right, bottom) = (
            f([f(ring, axis=0) for ring in kept], axis=0).tolist() for f in (np.min, np.max)
        )
        return cls(rings=kept, window=_clipped(top, left, bottom + 1, right + 1, height, width))

    def inside(self, window: Window) -> NDArray[np.bool_]:
        found = np.empty((window.height, window.width), dtype=bool)
        step = max(1, _STRIP // window.col_stop)
        for row in range(0, window.height, step):
            strip = found[row : row + step]
            # from the left border of the image on: elsewhere Pillow's sums would be rounded in another way
            rings = ((ring - (0, window.row + row), 1) for ring in self.rings)
            strip[:] = filled(rings, len(strip), window.col_stop)[:, window.col :]
        return found


@dataclass(frozen=True, kw_only=True)
class _Several:
    """All of several."""

    masks: list[Mask]

    @property
    def window(self) -> Window | None:
        found = [mask.window for mask in self.masks if mask.window is not None]
        if not found:
            return None
        row, col = min(w.row for w in found), min(w.col for w in found)
        height, width = max(w.row_stop for w in found) - row, max(w.col_stop for w in found) - col
        return Window(row=row, col=col, height=height, width=width)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        found = np.zeros((window.height, window.width), dtype=bool)
        for mask in self.masks:
            found |= mask.inside(window)
        return found


def _clipped(top: int, left: int, bottom: int, right: int, height: int, width: int) -> Window | None:
    top, left, bottom, right = max(0, top), max(0, left), min(height, bottom), min(width, right)
    if top >= bottom or left >= right:
        return None
    return Window(row=top, col=left, height=bottom - top, width=right - left)
