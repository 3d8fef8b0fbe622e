"""One pass over a map: how much there is of each class, and pixels drawn from each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import SourceError
from earthwords.geo.class_raster import ClassRaster, ValueIndex
from earthwords.geo.grids.area import PixelAreas

Floats: TypeAlias = NDArray[np.float64]
_COLUMNS = 2**16
_BATCH = 2**20
"""Pixels."""
_ROOM = 4
"""Pixels are sorted out when there are so many times those wanted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Census:
    """What a map consists of."""

    values: tuple[int, ...]
    """Of the classes that occur, and of those that the map was asked for."""
    pixels: tuple[int, ...]
    areas: Floats
    """`(class,)` square metres, or pixels without a CRS."""
    drawn: tuple[DrawnPixels, ...]
    """Of each class, in the order in which they are drawn."""

    def occurring(self) -> Census:
        """Without classes that are nowhere."""
        kept = [i for i, pixels in enumerate(self.pixels) if pixels]
        return Census(
            values=tuple(self.values[i] for i in kept), pixels=tuple(self.pixels[i] for i in kept),
            areas=self.areas[kept], drawn=tuple(self.drawn[i] for i in kept),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnPixels:
    """Pixels of a class."""

    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    areas: Floats


def take_census(
    raster: ClassRaster, *, most: int = 0, seed: int = 0, tick: Callable[[int], None] = lambda rows: None
) -> Census:
    """Areas of all classes, and the first `most` pixels drawn from each.

    Every pixel gets an exponential number of mean 1/area from a generator that only its place and `seed` decide; the
    smallest come first. So the first n of a class are a random sample without replacement with chances by area, equal
    ones where pixels are equally large, and do not depend on how the map is cut into strips.

    Raises:
        SourceError: the map has no valid pixel, too many values, or is damaged.
    """
    values, areas = ValueIndex(sorted(raster.names)), PixelAreas(raster.grid)
    found = _Tally(most)
    for row, codes, valid in raster.strips():
        index = values.index(codes, valid, source=raster.source)
        step = max(1, _BATCH // index.shape[1])
        for first in range(0, len(index), step):
            part = index[first : first + step]
            sizes = areas.block(row + first, len(part))
            found.add(part, sizes, row + first, len(values.listed))
            if most:
                found.draw(part, sizes, row + first, seed)
        tick(len(index))
    there = [i for i, value in enumerate(values.listed) if found.pixels[i] or value in raster.asked]
    there.sort(key=values.listed.__getitem__)
    if not found.pixels.any():
        raise SourceError(f"{raster.source} has no valid pixel: all are nodata or masked.")
    return Census(
        values=tuple(values.listed[i] for i in there),
        pixels=tuple(int(found.pixels[i]) for i in there),
        areas=found.areas[there],
        drawn=tuple(found.candidates(i) for i in there),
    )


class _Tally:
    """Grows with the classes that are met."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.pixels = np.zeros(0, np.int64)
        self.areas = np.zeros(0)
        self._limit = np.zeros(0)
        self._kept: list[Floats] = []
        """Of each class `(n, 4)`: key, row, column, area."""

    def add(self, index: NDArray[np.int32], sizes: Floats, row: int, classes: int) -> None:
        """Count pixels: `index` -1 is none, `sizes` as `PixelAreas.block` gives them."""
        new = classes - len(self.pixels)
        self.pixels = np.append(self.pixels, np.zeros(new, np.int64))
        self.areas, self._limit = np.append(self.areas, np.zeros(new)), np.append(self._limit, np.full(new, np.inf))
        self._kept += [np.zeros((0, 4))] * new
        shifted = index.ravel().astype(np.intp) + 1
        self.pixels += np.bincount(shifted, minlength=classes + 1)[1:]
        weights = np.broadcast_to(sizes, index.shape).ravel()
        self.areas += np.bincount(shifted, weights=weights, minlength=classes + 1)[1:]

    def draw(self, index: NDArray[np.int32], sizes: Floats, row: int, seed: int) -> None:
        """Keep the pixels of each class with the smallest numbers so far."""
        limit = np.append(self._limit, -1.0)  # of no class nothing is kept
        for i, line in enumerate(index):
            own = sizes[min(i, len(sizes) - 1)]
            for first in range(0, len(line), _COLUMNS):
                part = line[first : first + _COLUMNS]
                area = own[first : first + _COLUMNS] if len(own) > 1 else own
                keys = _generator(seed, row + i, first // _COLUMNS).standard_exponential(len(part)) / area
                cols = np.flatnonzero(keys <= limit[part])
                if len(cols):
                    self._keep(part[cols], keys[cols], row + i, first + cols, np.broadcast_to(area, part.shape)[cols])
                    limit[:-1] = self._limit

    def _keep(self, classes: NDArray[np.int32], keys: Floats, row: int, cols: NDArray[np.intp], areas: Floats) -> None:
        rows = np.column_stack([keys, np.full(len(keys), float(row)), cols, areas])
        for each in np.unique(classes):
            kept = np.concatenate([self._kept[each], rows[classes == each]])
            if len(kept) > _ROOM * self.most:
                kept = kept[np.argpartition(kept[:, 0], self.most)[: self.most]]
                self._limit[each] = kept[:, 0].max()
            self._kept[each] = kept

    def candidates(self, number: int) -> DrawnPixels:
        """The pixels of a class, smallest number first."""
        kept = self._kept[number]
        kept = kept[np.argsort(kept[:, 0], kind="stable")][: self.most]
        return DrawnPixels(rows=kept[:, 1].astype(np.int64), cols=kept[:, 2].astype(np.int64), areas=kept[:, 3])


def _generator(seed: int, row: int, part: int) -> np.random.Generator:
    """Random numbers of a piece of a row, the same however the map is read."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, part, row]))
