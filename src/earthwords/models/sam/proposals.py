"""Masks that SAM proposes for an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earthwords.kernels.masks.run_lengths import runs_of_mask, text_of_runs
from earthwords.mask_set import MaskSet
from earthwords.models.sam.grids import CropBox
from earthwords.types import Grid


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Masks of an image, each kept as the bits of its own rectangle; two may overlap."""

    shape: tuple[int, int]
    """Rows and columns of the image."""
    places: NDArray[np.int64]
    """`(mask, 4)`: first row, first column, height and width of the rectangle in pixels; 0 of an empty mask."""
    bits: tuple[NDArray[np.uint8], ...]
    """The rectangle of each row by row, eight pixels a byte, as `numpy.packbits` of it."""
    boxes: NDArray[np.int64]
    """`(mask, 4)`: x0, y0, x1, y1 of the first and last column and row that are set: a side is one less than its
    pixels, as everywhere in SAM."""
    predicted_iou: NDArray[np.float32]
    """`(mask,)`: the network's own estimate."""
    stability: NDArray[np.float32]
    """`(mask,)`."""
    points: NDArray[np.float64]
    """`(mask, 2)`: x and y of the point that was asked about."""
    crops: NDArray[np.int64]
    """`(mask, 4)`: x0, y0, x1, y1 of the part of the image that was looked at, without x1 and y1."""

    @classmethod
    def joined(cls, shape: tuple[int, int], parts: Sequence[Proposals]) -> Proposals:
        """All masks of several, in turn; of no part, none."""
        names = ("places", "boxes", "predicted_iou", "stability", "points", "crops")
        empty = (*([np.zeros((0, 4), np.int64)] * 2), *([np.zeros(0, np.float32)] * 2), np.zeros((0, 2)))
        none = dict(zip(names, (*empty, np.zeros((0, 4), np.int64)), strict=True))
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) if parts else none[name] for name in names
        }
        return cls(shape=shape, bits=tuple(one for part in parts for one in part.bits), **arrays)

    def __len__(self) -> int:
        return len(self.bits)

    def part(self, index: int) -> NDArray[np.bool_]:
        """`(row, col)` of the rectangle of a mask."""
        height, width = (int(side) for side in self.places[index, 2:])
        return np.unpackbits(self.bits[index], count=height * width).reshape(height, width).astype(bool)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """`(row, col)` of the image."""
        found = np.zeros(self.shape, bool)
        row, col, height, width = (int(value) for value in self.places[index])
        found[row : row + height, col : col + width] = self.part(index)
        return found

    @property
    def masks(self) -> NDArray[np.bool_]:
        """`(mask, row, col)`, a byte a pixel: for few or small masks."""
        found = np.zeros((len(self), *self.shape), bool)
        for i in range(len(self)):
            found[i] = self.mask(i)
        return found

    @property
    def areas(self) -> NDArray[np.int64]:
        """`(mask,)`: pixels of each."""
        return np.array([int(np.unpackbits(one).sum()) for one in self.bits], np.int64)

    @property
    def boxes_xywh(self) -> NDArray[np.int64]:
        """`(mask, 4)`: x0, y0 and the sides of `boxes`, which are one less than their pixels."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]], axis=1)

    @property
    def quality(self) -> NDArray[np.float64]:
        """`(mask,)`: the mean of predicted IoU and stability."""
        return (self.predicted_iou.astype(np.float64) + self.stability) / 2

    def run_lengths(self, index: int) -> NDArray[np.int64]:
        """Of a mask, column by column, beginning with those that are not set."""
        return runs_of_mask(self.mask(index))

    def coco(self, index: int) -> dict[str, Any]:
        """A mask as COCO writes it: `size` (rows, columns) and the text `counts`."""
        return {"size": list(self.shape), "counts": text_of_runs(self.run_lengths(index))}

    def take(self, which: ArrayLike) -> Proposals:
        """Some of them: indices in the order wanted, or True for those that stay."""
        wanted = np.asarray(which)
        index = np.arange(len(self))[wanted if wanted.size else wanted.astype(np.int64)]
        return replace(
            self,
            places=self.places[index],
            bits=tuple(self.bits[i] for i in index),
            boxes=self.boxes[index],
            predicted_iou=self.predicted_iou[index],
            stability=self.stability[index],
            points=self.points[index],
            crops=self.crops[index],
        )

    def smaller_than(self, share: float) -> Proposals:
        """Those of less than this share of the image."""
        return self.take(self.areas / (self.shape[0] * self.shape[1]) < share)

    def best(self, most: int) -> Proposals:
        """At most so many, by `quality`, the best first; as they are when there are no more."""
        if len(self) <= most:
            return self
        return self.take(np.argsort(-self.quality, kind="stable")[:most])

    def on(self, grid: Grid) -> MaskSet:
        """Those that have a pixel, as masks of the grid that the image lies on; scores are predicted IoU."""
        some = self.take(self.places[:, 2] > 0)
        return MaskSet(
            grid=grid,
            boxes=some.places,
            bits=some.bits,
            scores=some.predicted_iou.clip(0, 1),
            classes=np.full(len(some), -1, np.int32),
        )

    def moved(self, crop: CropBox, shape: tuple[int, int]) -> Proposals:
        """The masks of a crop as masks of the image."""
        held = np.any(self.places[:, 2:], axis=1, keepdims=True)  # an empty mask lies nowhere
        origin = np.array([crop.x0, crop.y0])
        return replace(
            self,
            shape=shape,
            places=self.places + np.where(held, [crop.y0, crop.x0, 0, 0], 0),
            boxes=self.boxes + np.tile(origin, 2),
            points=self.points + origin,
            crops=np.tile(np.array(crop.box, np.int64), (len(self), 1)),
        )


def packed(mask: NDArray[np.bool_]) -> tuple[tuple[int, int, int, int], NDArray[np.uint8]]:
    """First row, first column, height and width of what is set in a mask, and the bits of that rectangle."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0), np.zeros(0, np.uint8)
    part = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    return (int(rows[0]), int(cols[0]), *part.shape), np.packbits(part)
