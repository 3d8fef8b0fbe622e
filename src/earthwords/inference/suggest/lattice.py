"""Probabilities of a scene of any size, some rows at a time, to figures of square cells; bounded by a row of blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
AT_ONCE = 2**21
"""Numbers that are worked on at once."""
MIN_SEEN = 0.5
"""A cell with a smaller share of observed pixels is no candidate."""


class ProbabilityRows(Protocol):
    """Consecutive full-width rows."""

    @property
    def row(self) -> int: ...

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """`(class, row, col)`, NaN where nothing was observed."""

    @property
    def rgb(self) -> NDArray[np.float32] | None:
        """`(3, row, col)` 0..1; None: unknown."""


@dataclass(kw_only=True)
class Coverage:
    """Pixels of a scene that were looked at."""

    pixels: int = 0
    observed: int = 0
    """With a probability."""
    black: int = 0
    """Of these 0 in all bands: fill that nobody declared, most likely."""
    considered: int = 0
    """In cells that may be suggested."""

    def add(self, other: Coverage) -> None:
        """Those of another scene, too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True, kw_only=True)
class CellFigures:
    """Figures of cells; `*` is `(row, col)` of cells, or a list of them."""

    rows: NDArray[np.int64]
    """`*` of the pixel in the middle."""
    cols: NDArray[np.int64]
    probabilities: Floats
    """`(class, *)`, means, of sum 1."""
    labels: Floats
    """`(class, *)`: share of the pixels in which the class is most probable."""
    margin: Floats
    """`*`: mean of 1 - (first - second) of the pixels; of a single class how close it is to the threshold."""
    entropy: Floats
    """`*`: mean of the entropy of the pixels, bits; of a single class as if there were a second."""
    colour: Floats
    """`(3, *)` 0..1, NaN where unknown."""
    usable: NDArray[np.bool_]
    """`*`: enough was observed, the middle too."""

    def part(self, rows: slice, cols: slice) -> CellFigures:
        """A rectangle of cells."""
        return CellFigures(**{name: value[..., rows, cols] for name, value in vars(self).items()})

    def at(self, index: tuple[NDArray[np.int64], ...]) -> CellFigures:
        """A list of cells of `(row, col)`."""
        return CellFigures(**{name: value[(..., *index)] for name, value in vars(self).items()})

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @staticmethod
    def joined(parts: list[CellFigures]) -> CellFigures:
        """Lists of cells behind each other."""
        return CellFigures(**{name: np.concatenate([vars(p)[name] for p in parts], axis=-1) for name in vars(parts[0])})


def pixel_uncertainty(probabilities: Floats, threshold: float) -> tuple[Floats, Floats, Floats]:
    """Probabilities `(class, *)` to those of sum 1, margin uncertainty and entropy, `*` each.

    Args:
        threshold: of a single class, at which it is most uncertain; 0 stands for 0.5.
    """
    if len(probabilities) == 1:
        middle = threshold or 0.5
        single = np.clip(probabilities[0], 0, 1)
        # as a probability that is 0.5 at the threshold
        moved = np.where(single < middle, single / middle / 2, 0.5 + (single - middle) / max(1 - middle, 1e-6) / 2)
        pair = np.stack([moved, 1 - moved])
        return probabilities, 1 - abs(2 * moved - 1), _entropy(pair)
    total = probabilities.sum(axis=0)
    shares = probabilities / np.where(total > 0, total, 1)
    top = np.partition(shares, -2, axis=0)
    return shares, 1 - (top[-1] - top[-2]), _entropy(shares)


def _entropy(shares: Floats) -> Floats:
    found: Floats = -(shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=0)
    return found


class Lattice:
    """Cuts a scene into cells of `side` pixels; the last ones of a row or a column may be smaller."""

    def __init__(self, shape: tuple[int, int], side: int, *, classes: int, threshold: float) -> None:
        self.shape = shape
        self.side = side
        self.classes = classes
        self.threshold = threshold
        self.coverage = Coverage(pixels=shape[0] * shape[1])
        self._starts = np.arange(0, shape[1], side)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return -(-self.shape[0] // self.side), len(self._starts)

    def bands(self, strips: Iterable[ProbabilityRows], rows: int) -> Iterator[CellFigures]:
        """So many rows of cells at a time; the last time what is left."""
        waiting: list[CellFigures] = []
        for cells in self._cell_rows(strips):
            waiting.append(cells)
            if len(waiting) == rows:
                yield _stacked(waiting)
                waiting = []
        if waiting:
            yield _stacked(waiting)

    def _cell_rows(self, strips: Iterable[ProbabilityRows]) -> Iterator[CellFigures]:
        """One row of cells after the other."""
        sums = _Sums(self)
        for strip in strips:
            assert strip.probabilities is not None
            height = strip.probabilities.shape[1]
            at = 0
            while at < height:
                row = strip.row + at
                take = min(height - at, self.side - row % self.side)
                part = slice(at, at + take)
                sums.add(row, strip.probabilities[:, part], None if strip.rgb is None else strip.rgb[:, part])
                at += take
                if (row + take) % self.side == 0 or row + take == self.shape[0]:
                    yield sums.finish()
                    sums = _Sums(self)


class _Sums:
    """Of a row of cells."""

    def __init__(self, lattice: Lattice) -> None:
        self.of = lattice
        cols = lattice.size[1]
        self.top, self.height = -1, 0
        self.values = np.zeros((2 * lattice.classes + 2 + 3, cols))
        """Probabilities, labels, margin, entropy, colour."""
        self.seen, self.coloured = np.zeros(cols), np.zeros(cols)
        self.usable: list[NDArray[np.bool_]] = []

    def add(self, row: int, probabilities: NDArray[np.float32], rgb: NDArray[np.float32] | None) -> None:
        """Pixels of some of the rows."""
        if self.top < 0:
            self.top = row
        self.height += probabilities.shape[1]
        side, usable = self.of.side, []
        wide = max(1, AT_ONCE // (len(self.values) * max(1, probabilities.shape[1]) * side))
        for first in range(0, len(self.seen), wide):
            cells = slice(first, first + wide)
            cols = slice(first * side, (first + wide) * side)
            usable.append(self._add(cells, probabilities[:, :, cols], None if rgb is None else rgb[:, :, cols]))
        self.usable.append(np.concatenate(usable, axis=1))

    def _add(
        self, cells: slice, probabilities: NDArray[np.float32], rgb: NDArray[np.float32] | None
    ) -> NDArray[np.bool_]:
        """The same for some of the columns; which pixels count."""
        seen = np.isfinite(probabilities).all(axis=0)
        coverage = self.of.coverage
        coverage.observed += int(seen.sum())
        if rgb is not None:
            black = seen & (rgb == 0).all(axis=0)
            coverage.black += int(black.sum())
            seen &= ~black
        shares, margin, entropy = pixel_uncertainty(np.where(seen, probabilities, 0), self.of.threshold)
        best = np.arange(len(shares))[:, None, None] == shares.argmax(axis=0)
        if len(shares) == 1:
            best = shares >= (self.of.threshold or 0.5)
        colour = np.zeros((3, *seen.shape)) if rgb is None else rgb
        layers = np.concatenate([shares, best, margin[None], entropy[None], colour])
        starts = np.arange(0, seen.shape[1], self.of.side)
        self.values[:, cells] += np.add.reduceat((layers * seen).sum(axis=1), starts, axis=-1)
        count = np.add.reduceat(seen.sum(axis=0, dtype=float), starts)
        self.seen[cells] += count
        if rgb is not None:
            self.coloured[cells] += count
        return np.asarray(seen)

    def finish(self) -> CellFigures:
        """Means of the cells."""
        k = self.of.classes
        widths = np.diff(np.append(self.of._starts, self.of.shape[1]))
        middle_row, middle_cols = self.height // 2, self.of._starts + widths // 2
        values = self.values / np.maximum(self.seen, 1)
        area = widths * self.height
        usable = np.concatenate(self.usable)[middle_row, middle_cols] & (self.seen >= MIN_SEEN * area)
        self.of.coverage.considered += int(self.seen[usable].sum())
        found = CellFigures(
            rows=np.full(len(widths), self.top + middle_row, np.int64),
            cols=middle_cols.astype(np.int64),
            probabilities=values[:k],
            labels=values[k : 2 * k],
            margin=values[2 * k],
            entropy=values[2 * k + 1],
            colour=np.where(self.coloured > 0, values[2 * k + 2 :], np.nan),
            usable=usable,
        )
        return CellFigures(**{name: value[..., None, :] for name, value in vars(found).items()})


def _stacked(rows: list[CellFigures]) -> CellFigures:
    return CellFigures(
        **{name: np.concatenate([vars(cells)[name] for cells in rows], axis=-2) for name in vars(rows[0])}
    )
