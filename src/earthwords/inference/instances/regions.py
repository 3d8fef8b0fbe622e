"""Connected regions of equal class, rows after rows: a region that crosses the border of strips or blocks is one.

A strip is cut into runs of equal label; runs that touch by a side, within the strip or across its upper border, are one
region. A region that no longer touches the last row is finished. Memory holds 12 bytes a run and a byte a pixel of the
regions that are still open, without the latter where they are larger than `MOST_PIXELS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.geo.vectors.connected import connected
from earthwords.types import SCORE_STEPS

Array: TypeAlias = NDArray[Any]

MOST_PIXELS = 2**22
"""Larger regions are stuff, not things: they are not cut apart."""


@dataclass(kw_only=True)
class ConnectedRegion:
    """A finished region, or one that is still growing."""

    label: int
    total: Array
    """`(value,)` sums over the pixels, in `SCORE_STEPS`."""
    rows: list[Array] = field(default_factory=list)
    starts: list[Array] = field(default_factory=list)
    stops: list[Array] = field(default_factory=list)
    values: list[Array] | None = field(default_factory=list)
    """`(pixel, value)` each, in the order of the runs; None: too large to be kept."""
    pixels: int = 0

    def add(self, rows: Array, starts: Array, stops: Array, values: Array) -> None:
        """Runs, and what their pixels hold."""
        self.rows.append(rows)
        self.starts.append(starts)
        self.stops.append(stops)
        self.pixels += len(values)
        self.total = self.total + values.sum(axis=0, dtype=np.int64)
        if self.values is not None:
            self.values.append(values)
            self._forget()

    def join(self, other: ConnectedRegion) -> None:
        """Take over what is in `other`, which must not be used afterwards."""
        self.rows += other.rows
        self.starts += other.starts
        self.stops += other.stops
        self.pixels += other.pixels
        self.total = self.total + other.total
        self.values = None if self.values is None or other.values is None else self.values + other.values
        self._forget()

    def _forget(self) -> None:
        if self.pixels > MOST_PIXELS:
            self.values = None

    @property
    def means(self) -> NDArray[np.float64]:
        """`(value,)`, 0..1."""
        return np.asarray(self.total / (SCORE_STEPS * max(1, self.pixels)))

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the mean of its pixels' middles."""
        rows, starts, stops = self.runs()
        lengths = stops - starts
        return (
            float(((rows + 0.5) * lengths).sum() / self.pixels),
            float(((starts + stops) / 2 * lengths).sum() / self.pixels),
        )

    def runs(self) -> tuple[Array, Array, Array]:
        """Row, first column and column behind the last, `(run,)` each."""
        return np.concatenate(self.rows), np.concatenate(self.starts), np.concatenate(self.stops)

    @property
    def box(self) -> tuple[int, int, int, int]:
        """First row and column, height and width."""
        rows, starts, stops = self.runs()
        top, left = int(rows.min()), int(starts.min())
        return top, left, int(rows.max()) + 1 - top, int(stops.max()) - left

    def mask(self) -> NDArray[np.bool_]:
        """`(row, col)` of the box."""
        top, left, height, width = self.box
        return filled(*self.runs(), top=top, left=left, height=height, width=width)

    def picture(self, value: int) -> NDArray[np.uint8] | None:
        """`(row, col)` of the box: one of the values, in steps, 0 outside the mask; None: too large to be known."""
        if self.values is None:
            return None
        rows, starts, stops = self.runs()
        top, left, height, width = self.box
        place = np.repeat((rows - top) * width + starts - left, stops - starts) + _counted(stops - starts)
        found = np.zeros(height * width, np.uint8)
        found[place] = np.concatenate(self.values)[:, value]
        return found.reshape(height, width)

    def packed(self) -> NDArray[np.uint8]:
        """`numpy.packbits` of the mask, without ever holding it as bytes."""
        top, left, height, width = self.box
        rows, starts, stops = self.runs()
        order = np.argsort(rows, kind="stable")
        rows, starts, stops = rows[order], starts[order], stops[order]
        step = max(8, 2**22 // width // 8 * 8)  # rows that fill whole bytes
        parts = []
        for first in range(0, height, step):
            here = slice(*np.searchsorted(rows, [top + first, top + first + step]))
            tall = min(step, height - first)
            part = filled(rows[here], starts[here], stops[here], top=top + first, left=left, height=tall, width=width)
            parts.append(np.packbits(part))
        return np.concatenate(parts)


def filled(
    rows: Array, starts: Array, stops: Array, *, top: int, left: int, height: int, width: int
) -> NDArray[np.bool_]:
    """Runs as a mask `(height, width)`; those of a row do not overlap."""
    edges = np.zeros(height * width + 1, np.int8)
    base = (rows - top) * width - left
    np.add.at(edges, base + starts, 1)
    np.add.at(edges, base + stops, -1)
    return np.cumsum(edges[:-1], dtype=np.int8).astype(bool).reshape(height, width)


class RegionCollector:
    """Takes rows of labels and gives regions of those that are counted."""

    def __init__(self, *, width: int, counted: Sequence[int], values: int) -> None:
        """
        Args:
            width: pixels of a row.
            counted: labels of the classes that regions are made of.
            values: that every pixel brings, such as probabilities.
        """
        self._width = width
        self._is_counted = np.zeros(2**16, bool)
        self._is_counted[list(counted)] = True
        self._values = values
        self._open: list[ConnectedRegion] = []
        self._border = np.full(width, -1)
        """`(col,)`: which open region the last row belongs to, -1 for none."""
        self._labels = np.full(width, -1)

    def add(self, row: int, labels: Array, values: Array) -> Iterator[ConnectedRegion]:
        """The next full-width rows; gives the regions that ended.

        Args:
            row: the first of them, right below the last call's.
            labels: `(row, col)`.
            values: `(value, row, col)`, 0..1.
        """
        known = np.where(self._is_counted[labels], labels.astype(np.int64), -1)
        runs, of_pixel, begins = _runs(known)
        count, group = self._groups(known, of_pixel, begins)
        regions: list[ConnectedRegion | None] = [None] * count
        for old, owner in zip(self._open, group[: len(self._open)].tolist(), strict=True):
            if (first := regions[owner]) is None:
                regions[owner] = old
            else:
                first.join(old)
        mine = group[len(self._open) :]
        self._fill(regions, runs, mine, row, known, values)
        on = known[-1] >= 0
        last = mine[of_pixel[-1][on]]
        still = np.unique(last)
        place = np.full(count, -1)
        place[still] = np.arange(len(still))
        open_now = [region for region in (regions[i] for i in still.tolist()) if region is not None]
        ended = [region for i, region in enumerate(regions) if region is not None and place[i] < 0]
        self._border = np.full(self._width, -1)
        self._border[on] = place[last]
        self._labels, self._open = known[-1], open_now
        yield from ended

    def finish(self) -> Iterator[ConnectedRegion]:
        """Those that touch the last row."""
        found, self._open = self._open, []
        self._border[:] = -1
        yield from found

    def _groups(self, known: Array, of_pixel: Array, begins: Array) -> tuple[int, Array]:
        """How many regions there are, and which one each open region, then each run belongs to."""
        before, runs = len(self._open), int(of_pixel.max(initial=-1)) + 1
        meet = (known[1:] == known[:-1]) & (known[1:] >= 0) & (begins[1:] | begins[:-1])
        above = (self._border >= 0) & (self._labels == known[0])
        first = np.concatenate([self._border[above], before + of_pixel[:-1][meet]])
        second = np.concatenate([before + of_pixel[0][above], before + of_pixel[1:][meet]])
        return connected(first, second, before + runs)

    def _fill(
        self, regions: list[ConnectedRegion | None], runs: Array, mine: Array, row: int, known: Array, values: Array
    ) -> None:
        """Hand each run to its region."""
        if not len(mine):
            return
        order = np.argsort(mine, kind="stable")
        rows, starts, stops = runs[:, order]
        lengths = stops - starts
        place = np.repeat(rows * self._width + starts, lengths) + _counted(lengths)
        held = np.rint(values.reshape(self._values, -1)[:, place].T * SCORE_STEPS).astype(np.uint8)
        groups, first = np.unique(mine[order], return_index=True)
        ends = np.append(first[1:], len(order))
        pixel = np.concatenate([[0], np.cumsum(lengths)])
        for owner, a, b in zip(groups.tolist(), first.tolist(), ends.tolist(), strict=True):
            region = regions[owner]
            if region is None:
                label = int(known[rows[a], starts[a]])
                region = regions[owner] = ConnectedRegion(label=label, total=np.zeros(self._values, np.int64))
            region.add(
                (rows[a:b] + row).astype(np.int32), starts[a:b].astype(np.int32), stops[a:b].astype(np.int32),
                held[pixel[a] : pixel[b]],
            )  # fmt: skip


def _counted(lengths: Array) -> Array:
    """0, 1, ... within each of parts of such lengths."""
    ends = np.cumsum(lengths)
    found: Array = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    return found


def _runs(known: Array) -> tuple[Array, Array, Array]:
    """Runs of equal labels that are not -1: `(3, run)` rows, first columns, columns behind the last; which run each
    pixel belongs to, where it belongs to one; and where runs begin."""
    begins = np.ones(known.shape, bool)
    begins[:, 1:] = known[:, 1:] != known[:, :-1]
    first = np.flatnonzero(begins)
    ends = np.append(first[1:], known.size)
    wanted = known.ravel()[first] >= 0
    number = np.cumsum(wanted) - 1
    of_pixel = np.where(known >= 0, number[np.cumsum(begins).reshape(known.shape) - 1], -1)
    rows, starts = np.divmod(first[wanted], known.shape[1])
    return np.stack([rows, starts, starts + (ends - first)[wanted]]), of_pixel, begins
