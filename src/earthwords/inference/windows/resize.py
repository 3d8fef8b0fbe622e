"""Rows of logits from one resolution to another, as they stream by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from earthwords.types import Window

CELL_ROWS, CELL_COLS = 32, 1024
"""Pixels that are turned from logits into labels at once, counted from the upper left of the part asked for: an
exponential may round differently at another place of a vector, so the cuts are always the same."""


class RowResizer:
    """Bilinear resize (align_corners False, no antialias: torch's `interpolate`) of an image in strips.

    A pixel depends on its place in the whole image only, never on how the strips are cut.
    """

    def __init__(
        self, *, source: tuple[int, int], target: tuple[int, int], region: Window, most_rows: int | None = None
    ) -> None:
        """
        Args:
            source, target: `(rows, cols)` of the whole image before and after.
            region: the part of the target that is wanted.
            most_rows: rows given at once at most, however many rows of the target a strip becomes.
        """
        self.same = source == target
        self.region = region
        self._most_rows = most_rows or region.height
        self._rows = _taps(source[0], target[0], region.row, region.row_stop)
        self._cols = _taps(source[1], target[1], region.col, region.col_stop)

    @property
    def needed(self) -> Window:
        """The part of the source that the region is made of."""
        if self.same:
            return self.region
        (top, bottom, _), (left, right, _) = self._rows, self._cols
        row, col = int(top.min()), int(left.min())
        return Window(row=row, col=col, height=int(bottom.max()) - row + 1, width=int(right.max()) - col + 1)

    def resize(self, strips: Iterable[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        """From consecutive `(row, (channel, h, needed.width))` of the source to the same of the region."""
        if self.same:
            yield from strips
            return
        held: Tensor | None = None
        first = done = 0
        top, bottom, weight = self._rows
        for row, strip in strips:
            if held is None:
                held, first = strip, row
            else:
                held = torch.cat([held, strip], dim=1)
            ready = int(np.searchsorted(bottom, row + strip.shape[1]))
            if ready > done:
                for start in range(done, ready, self._most_rows):
                    part = slice(start, min(start + self._most_rows, ready))
                    mixed = self._mix(held, top[part] - first, bottom[part] - first, weight[part])
                    yield self.region.row + start, mixed
                done = ready
                keep = min(int(top[done] - first), held.shape[1]) if done < len(top) else held.shape[1]
                held, first = held[:, keep:], first + keep

    def _mix(self, held: Tensor, top: np.ndarray, bottom: np.ndarray, weight: np.ndarray) -> Tensor:
        down = torch.from_numpy(weight).to(held.device)[:, None]
        rows = held[:, torch.from_numpy(top)] * (1 - down) + held[:, torch.from_numpy(bottom)] * down
        left, right, across = self._cols
        offset = self.needed.col
        across_t = torch.from_numpy(across).to(held.device)
        left_t, right_t = torch.from_numpy(left - offset), torch.from_numpy(right - offset)
        return rows[:, :, left_t] * (1 - across_t) + rows[:, :, right_t] * across_t


def _taps(source: int, target: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each target pixel: the two source pixels it lies between, and the second one's weight."""
    place = np.maximum((np.arange(start, stop) + 0.5) * (source / target) - 0.5, 0)
    first = np.minimum(place.astype(np.int64), source - 1)
    return first, np.minimum(first + 1, source - 1), (place - first).astype(np.float32)


def in_cells(parts: Iterable[tuple[int, Tensor]], region: Window) -> Iterator[tuple[int, Tensor]]:
    """Consecutive `(row, (query, h, col))` cut anew: whole rows of cells, and what is left at the end."""
    held: list[Tensor] = []
    first = region.row
    for row, part in parts:
        held.append(part)
        stop = row + part.shape[1]
        while stop - first >= CELL_ROWS or (stop == region.row_stop and stop > first):
            rows = held[0] if len(held) == 1 else torch.cat(held, dim=1)
            yield first, rows[:, :CELL_ROWS]
            held = [rows[:, CELL_ROWS:]]
            first += min(CELL_ROWS, stop - first)
