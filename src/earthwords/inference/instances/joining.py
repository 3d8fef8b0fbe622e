"""Masks of neighbouring tiles that are one thing become one mask.

Two tiles both see the ground where they overlap. There a mask falls into connected parts; those that reach both cores
count, or all of it where none does. Parts of two tiles agree if their intersection is at least `AGREE` of their union;
each agrees with one of the other tile at most, the best first, and with none of another class. Masks with a part that
agrees are one thing, and so are those that hang together by others. Of a thing that some tile sees whole, the mask of
the tile that sees it farthest from its borders stays; of one that all tiles cut, what all of them see.

So where tiles agree about every pixel, a thing of any size and shape is found once, with all its pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy import ndimage

from earthwords.geo.vectors.connected import connected
from earthwords.inference.refer.pyramid import View
from earthwords.mask_set import MaskSet
from earthwords.types import Grid, Window

AGREE = 0.5
_AROUND = np.ones((3, 3), int)
"""All eight neighbours."""
_BAND = 2**22
"""Pixels of a mask that are held as bytes at once."""


@dataclass(frozen=True, kw_only=True)
class TileMasks:
    """What a tile has found."""

    masks: MaskSet
    """On the working grid of the scene."""
    cut: NDArray[np.bool_]
    """`(mask,)`: whether it comes to a border of the tile behind which the scene goes on."""
    failures: tuple[str, ...] = ()
    """What could not be read."""

    def to_bytes(self) -> bytes:
        """For a journal; the grid is not in it."""
        masks = self.masks
        arrays = {
            "boxes": masks.boxes,
            "bits": np.concatenate([np.zeros(0, np.uint8), *masks.bits]),
            "scores": masks.scores,
            "classes": masks.classes,
            "cut": self.cut,
        }
        about = {"titles": json.dumps(masks.titles), "failures": json.dumps(self.failures)}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        content: bytes = save({name: np.ascontiguousarray(values) for name, values in arrays.items()})
        return content

    @classmethod
    def from_bytes(cls, content: bytes, grid: Grid) -> TileMasks:
        """What `to_bytes` gave, on a grid."""
        arrays = load(content)
        about = json.loads(arrays["about"].tobytes())
        lengths = -(-arrays["boxes"][:, 2:].prod(axis=1) // 8)
        masks = MaskSet(
            grid=grid,
            boxes=arrays["boxes"],
            bits=tuple(np.split(arrays["bits"], np.cumsum(lengths)[:-1])) if len(lengths) else (),
            scores=arrays["scores"],
            classes=arrays["classes"],
            titles=tuple(json.loads(about["titles"])),
        )
        return cls(masks=masks, cut=arrays["cut"], failures=tuple(json.loads(about["failures"])))


class SeenPart(NamedTuple):
    """A piece of a mask where two tiles overlap."""

    mask: int
    """Among those of the scene."""
    row: int
    col: int
    pixels: NDArray[np.bool_]


def joined_masks(found: Sequence[TileMasks], tiles: Sequence[View], grid: Grid) -> tuple[MaskSet, int]:
    """The masks of a scene, from the top left to the bottom right; and how many end at the border of a tile.

    Args:
        found: of each tile.
        tiles: with their cores, on `grid`.
    """
    every = _concatenated([one.masks for one in found], grid)
    if not len(every):
        return every, 0
    cut = np.concatenate([one.cut for one in found])
    first = np.cumsum([0, *(len(one.masks) for one in found)])
    tile = np.repeat(np.arange(len(found)), np.diff(first))
    own = [range(start, stop) for start, stop in pairwise(first.tolist())]
    links = [
        pair
        for one, other in _neighbours(tiles)
        for pair in _agreeing(every, (own[one], own[other]), (tiles[one], tiles[other]))
    ]
    ends = np.array(links, np.int64).reshape(-1, 2).T
    _, group = connected(ends[0], ends[1], len(every))
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    ended = sum(len(alone) == 1 and bool(cut[alone[0]]) for alone in groups)
    joined = [_one(every.take(some), cut[some], tile[some], tiles) for some in groups]
    return _sorted(_concatenated(joined, grid)), ended


def _neighbours(tiles: Sequence[View]) -> Iterator[tuple[int, int]]:
    """Pairs of tiles that overlap, each once."""
    boxes = np.array([(t.window.row, t.window.col, t.window.row_stop, t.window.col_stop) for t in tiles])
    for i in range(len(tiles) - 1):
        later = boxes[i + 1 :]
        meets = (later[:, :2] < boxes[i, 2:]).all(axis=1) & (later[:, 2:] > boxes[i, :2]).all(axis=1)
        yield from ((i, i + 1 + int(j)) for j in np.flatnonzero(meets))


def _agreeing(masks: MaskSet, own: tuple[range, range], tiles: tuple[View, View]) -> Iterator[tuple[int, int]]:
    """Masks of two tiles that agree where both see.

    Args:
        own: which of the masks are of either tile.
    """
    common = tiles[0].window.intersect(tiles[1].window)
    assert common is not None
    first, second = (list(_parts(masks, some, common, (tiles[0].core, tiles[1].core))) for some in own)
    pairs = [
        (share, i, j)
        for i, j, share in _shares(first, second)
        if share >= AGREE and masks.classes[first[i].mask] == masks.classes[second[j].mask]
    ]
    taken: tuple[set[int], set[int]] = set(), set()
    for _, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            yield first[i].mask, second[j].mask


def _parts(masks: MaskSet, which: range, common: Window, cores: tuple[Window, Window]) -> Iterator[SeenPart]:
    """The parts of masks in `common` that reach both cores; all that a mask has there if none does."""
    for index in which:
        row, col, height, width = (int(value) for value in masks.boxes[index])
        own = Window(row=row, col=col, height=height, width=width)
        seen = own.intersect(common)
        if seen is None:
            continue
        pixels = masks.mask(index)[seen.slices_in(own)]
        if not pixels.any():
            continue
        regions, count = ndimage.label(pixels, _AROUND)
        boxes: list[tuple[slice, slice]] = ndimage.find_objects(regions)
        reaching = np.ones(count + 1, bool)
        reaching[0] = False
        for core in cores:
            within = seen.intersect(core)
            inside: NDArray[np.int32] = regions[within.slices_in(seen)] if within is not None else np.zeros(0, np.int32)
            reaching &= np.bincount(inside.ravel(), minlength=count + 1) > 0
        if not reaching.any():
            yield SeenPart(index, seen.row, seen.col, pixels)
        for number in np.flatnonzero(reaching):
            rows, cols = boxes[number - 1]
            yield SeenPart(index, seen.row + rows.start, seen.col + cols.start, regions[rows, cols] == number)


def _shares(first: Sequence[SeenPart], second: Sequence[SeenPart]) -> Iterator[tuple[int, int, float]]:
    """Intersection by union of the parts that meet."""
    starts = np.array([(part.row, part.col) for part in second], np.int64).reshape(-1, 2)
    stops = starts + np.array([part.pixels.shape for part in second], np.int64).reshape(-1, 2)
    sizes = [int(np.count_nonzero(part.pixels)) for part in second]
    for i, one in enumerate(first):
        low, size = np.array([one.row, one.col]), int(np.count_nonzero(one.pixels))
        meets = ((starts < low + one.pixels.shape) & (stops > low)).all(axis=1)
        for j in np.flatnonzero(meets).tolist():
            if shared := _intersection(one, second[j]):
                yield i, j, shared / (size + sizes[j] - shared)


def _intersection(one: SeenPart, other: SeenPart) -> int:
    row, col = max(one.row, other.row), max(one.col, other.col)
    stop_row = min(one.row + one.pixels.shape[0], other.row + other.pixels.shape[0])
    stop_col = min(one.col + one.pixels.shape[1], other.col + other.pixels.shape[1])
    ours, theirs = (p.pixels[row - p.row : stop_row - p.row, col - p.col : stop_col - p.col] for p in (one, other))
    return int(np.count_nonzero(ours & theirs))


def _one(masks: MaskSet, cut: NDArray[np.bool_], tile: NDArray[np.int64], tiles: Sequence[View]) -> MaskSet:
    """The mask of one thing, of what tiles have found of it; the surest score and its class."""
    if len(masks) == 1:
        return masks
    best = int(np.argmax(masks.scores))
    if not cut.all():
        whole = np.flatnonzero(~cut)
        depths = [_depth(masks.boxes[i], tiles[tile[i]].window) for i in whole]
        return masks.take([int(whole[int(np.argmax(depths))])])
    row, col = masks.boxes[:, :2].min(axis=0)
    stop = (masks.boxes[:, :2] + masks.boxes[:, 2:]).max(axis=0)
    box = np.array([[row, col, stop[0] - row, stop[1] - col]], np.int64)
    return MaskSet(
        grid=masks.grid,
        boxes=box,
        bits=(_union(masks, *(int(value) for value in box[0])),),
        scores=masks.scores[[best]],
        classes=masks.classes[[best]],
        titles=masks.titles,
    )


def _depth(box: NDArray[np.int64], window: Window) -> int:
    """Pixels from a box to the nearest border of a window."""
    row, col, height, width = (int(value) for value in box)
    sides = row - window.row, col - window.col, window.row_stop - row - height, window.col_stop - col - width
    return min(sides)


def _union(masks: MaskSet, row: int, col: int, height: int, width: int) -> NDArray[np.uint8]:
    """The bits of a box with all that some masks cover; bands of it are bytes, never all."""
    step = max(8, _BAND // width // 8 * 8)  # rows that fill whole bytes
    bands = []
    for first in range(row, row + height, step):
        stop = min(first + step, row + height)
        band = np.zeros((stop - first, width), bool)
        for i in range(len(masks)):
            top, left, tall, wide = (int(value) for value in masks.boxes[i])
            low, high = max(first, top), min(stop, top + tall)
            if low < high:
                band[low - first : high - first, left - col : left - col + wide] |= masks.mask(i)[
                    low - top : high - top
                ]
        bands.append(np.packbits(band))
    return np.concatenate(bands)


def _concatenated(sets: Iterable[MaskSet], grid: Grid) -> MaskSet:
    parts = list(sets)
    return MaskSet(
        grid=grid,
        boxes=np.concatenate([np.zeros((0, 4), np.int64), *(part.boxes for part in parts)]),
        bits=tuple(one for part in parts for one in part.bits),
        scores=np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
        classes=np.concatenate([np.zeros(0, np.int32), *(part.classes for part in parts)]),
        titles=next((part.titles for part in parts if part.titles), ()),
    )


def _sorted(masks: MaskSet) -> MaskSet:
    """By first row, first column, height and width, then as they were found."""
    return masks.take(np.lexsort(masks.boxes.T[::-1]))
