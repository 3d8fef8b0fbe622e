"""Instances of a scene as masks: many small arrays at their places, however large the scene."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError
from earthwords.types import Grid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


_SET_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1)
"""Of every byte."""


@dataclass(frozen=True, kw_only=True)
class MaskSet:
    """Masks of instances, each kept as the bits of its own box.

    Two masks may overlap. The order of the masks is their identity: outputs number them from 1 in this order.
    """

    grid: Grid
    """Of the scene (or of the part that was looked at): boxes count its pixels."""
    boxes: NDArray[np.int64]
    """`(mask, 4)`: first row, first column, height, width in pixels; the smallest rectangle around the mask."""
    bits: tuple[NDArray[np.uint8], ...]
    """A mask each: its box row by row, eight pixels a byte, as `numpy.packbits` of the flattened box."""
    scores: NDArray[np.float32]
    """`(mask,)`: how sure the source of the mask is, 0..1."""
    classes: NDArray[np.int32]
    """`(mask,)`: index into `titles`, or -1 where nothing was named."""
    titles: tuple[str, ...] = ()
    """Of the classes."""

    def __post_init__(self) -> None:
        count = len(self.bits)
        if not (self.boxes.shape == (count, 4) and len(self.scores) == len(self.classes) == count):
            raise UsageError(f"{count} masks need as many boxes, scores and classes.")

    @classmethod
    def pack(
        cls,
        grid: Grid,
        places: Sequence[tuple[int, int]],
        masks: Sequence[NDArray[np.bool_]],
        *,
        scores: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        titles: Sequence[str] = (),
    ) -> Self:
        """Of masks with the first row and column of each in the grid; boxes are shrunk to the pixels that are set.

        Raises:
            UsageError: a mask without a pixel.
        """
        boxes, bits = np.zeros((len(masks), 4), np.int64), []
        for i, ((row, col), mask) in enumerate(zip(places, masks, strict=True)):
            rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if not len(rows):
                raise UsageError(f"Mask {i} has no pixel.")
            part = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
            boxes[i] = row + rows[0], col + cols[0], *part.shape
            bits.append(np.packbits(part))
        count = len(bits)
        return cls(
            grid=grid,
            boxes=boxes,
            bits=tuple(bits),
            scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            classes=np.full(count, -1, np.int32) if classes is None else np.asarray(classes, np.int32),
            titles=tuple(titles),
        )

    def __len__(self) -> int:
        return len(self.bits)

    def __iter__(self) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """First row, first column and the mask of each."""
        for i in range(len(self)):
            yield int(self.boxes[i, 0]), int(self.boxes[i, 1]), self.mask(i)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """`(row, col)` of its box."""
        height, width = (int(n) for n in self.boxes[index, 2:])
        return np.unpackbits(self.bits[index], count=height * width).reshape(height, width).astype(bool)

    def rows(self, index: int, first: int, stop: int) -> NDArray[np.bool_]:
        """`(row, col)`: some rows of its box, without the others; `first` is a multiple of eight."""
        height, width = (int(n) for n in self.boxes[index, 2:])
        count = (min(stop, height) - first) * width
        part = self.bits[index][first * width // 8 :]
        return np.unpackbits(part, count=count).reshape(-1, width).astype(bool)

    @property
    def areas(self) -> NDArray[np.int64]:
        """`(mask,)`: pixels of each."""
        return np.array([int(_SET_BITS[b].sum()) for b in self.bits], np.int64)

    def take(self, which: ArrayLike) -> MaskSet:
        """Some of them: indices in the order wanted, or True for those that stay."""
        wanted = np.asarray(which)
        # not by way of all indices: masks are taken one by one too
        index = np.flatnonzero(wanted) if wanted.dtype == bool else wanted.astype(np.int64)
        return MaskSet(
            grid=self.grid,
            boxes=self.boxes[index],
            bits=tuple(self.bits[i] for i in index),
            scores=self.scores[index],
            classes=self.classes[index],
            titles=self.titles,
        )

    def union(self) -> NDArray[np.bool_]:
        """`(row, col)` of the grid: pixels of any mask. It takes a byte a pixel of the scene."""
        found = np.zeros((self.grid.height, self.grid.width), bool)
        for row, col, mask in self:
            found[row : row + mask.shape[0], col : col + mask.shape[1]] |= mask
        return found
