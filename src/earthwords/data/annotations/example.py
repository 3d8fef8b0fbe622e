"""The one noun of the engine: an image, or a part of one, with the boxes of its objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.grids.tiling import windows
from earthwords.types import Window

Boxes: TypeAlias = NDArray[np.float64]
"""`(n, 4)` left, top, right, bottom: pixel edges, so that a single pixel at the origin is 0, 0, 1, 1."""


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """An image with objects."""

    name: str
    """Unique within its source and the same wherever that lies, such as `town/a` or `town/a@512,0`."""
    set: str
    image: str
    """Path of the file."""
    size: tuple[int, int]
    """Height and width in pixels: of the window, where there is one."""
    boxes: Boxes
    """In pixels of the window, where there is one, inside it."""
    classes: tuple[str, ...]
    """`(n,)` class of each box; commas between synonyms."""
    window: Window | None = None
    """None: the whole image."""
    bands: tuple[int | str, ...] | None = None
    """Of a raster, used as red, green and blue; None: as the file says."""


def no_boxes() -> Boxes:
    """`(0, 4)`."""
    return np.zeros((0, 4))


def area(boxes: Boxes) -> NDArray[np.float64]:
    """`(n,)` square pixels; 0 for what is inside out."""
    return np.asarray(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1))


def clip(boxes: Boxes, window: Window, *, visible: float) -> tuple[Boxes, NDArray[np.bool_]]:
    """The parts of boxes inside a window, in its pixels, and which boxes they are `(n,)`.

    A box stays if the window shows at least the share `visible` of it (and any of it at all).
    """
    low, high = (window.col, window.row) * 2, (window.col_stop, window.row_stop) * 2
    inside = np.clip(boxes, low, high) - low
    shown = area(inside)
    kept = (shown > 0) & (shown >= visible * area(boxes) * (1 - 1e-9))
    return inside[kept], kept


def cut(whole: Annotated, *, tile: int | None, visible: float) -> Iterator[Annotated]:
    """An image as it is, clipped to itself, or as windows of at most `tile` pixels that cover it."""
    for window in tiles(whole.size, tile):
        boxes, kept = clip(whole.boxes, window, visible=visible)
        named = tuple(name for name, keep in zip(whole.classes, kept, strict=True) if keep)
        yield part(replace(whole, boxes=boxes, classes=named), window)


def part(whole: Annotated, window: Window) -> Annotated:
    """`whole`, whose boxes are those of a window already, as that window; the name tells its place."""
    if (window.height, window.width) == whole.size:
        return whole
    return replace(
        whole,
        name=f"{whole.name}@{window.row},{window.col}",
        size=(window.height, window.width),
        window=window,
    )


def tiles(size: tuple[int, int], tile: int | None) -> list[Window]:
    """Windows over an image; the last ones of an axis are moved back to end at its border."""
    side = tile or max(size)
    return windows(*size, tile=side, stride=side)
