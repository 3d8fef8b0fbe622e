"""A part of a scene cut into blocks that are computed, remembered and retried one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from earthwords.inference.windows.resize import CELL_COLS, CELL_ROWS
from earthwords.types import Window

PIXELS = 2**22
"""Of a block where one machine works from top to bottom: what a kill may cost."""
SIDES = (4096, 2048, 1024)
"""Of the blocks that several workers share; larger ones compute fewer windows twice."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Blocks of `rows x cols` pixels, row after row; those at the right and at the bottom may be smaller."""

    region: Window
    """What is cut, native pixels."""
    rows: int
    """A multiple of `CELL_ROWS`."""
    cols: int
    """A multiple of `CELL_COLS`, or at least the width of the region."""

    @property
    def across(self) -> int:
        """Blocks side by side."""
        return -(-self.region.width // self.cols)

    @property
    def down(self) -> int:
        """Blocks on top of each other."""
        return -(-self.region.height // self.rows)

    def __len__(self) -> int:
        return self.across * self.down

    def window(self, index: int, *, count: int = 1) -> Window:
        """Where block `index` lies, native pixels; with `count` blocks from there downwards."""
        row, col = divmod(index, self.across)
        top, left = row * self.rows, col * self.cols
        return Window(
            row=self.region.row + top,
            col=self.region.col + left,
            height=min(count * self.rows, self.region.height - top),
            width=min(self.cols, self.region.width - left),
        )

    def band(self, row: int) -> range:
        """The blocks side by side in row `row` of blocks."""
        return range(row * self.across, (row + 1) * self.across)

    def runs(self, wanted: set[int]) -> Iterator[tuple[int, int]]:
        """`(first block, blocks)`: those of `wanted` that lie without a gap on top of each other, from the left."""
        for col in range(self.across):
            first = None
            for row in range(self.down + 1):
                inside = row < self.down and row * self.across + col in wanted
                if inside and first is None:
                    first = row
                elif not inside and first is not None:
                    yield first * self.across + col, row - first
                    first = None


def cut(region: Window, *, cols: int, workers: int) -> Blocks:
    """Blocks of at most `cols` columns for so many workers.

    One worker gets bands, which it walks down without computing a window twice; several get squares.
    """
    if workers == 1:
        cols = region.width if cols >= region.width else max(CELL_COLS, cols // CELL_COLS * CELL_COLS)
        return Blocks(region=region, rows=_whole(PIXELS // min(cols, region.width), CELL_ROWS), cols=cols)
    area = region.height * region.width
    side = next((s for s in SIDES if area >= 3 * workers * s * s), SIDES[-1])
    side = max(CELL_COLS, min(side, cols // CELL_COLS * CELL_COLS))
    return Blocks(region=region, rows=side, cols=side)


def _whole(length: int, cell: int) -> int:
    return max(1, length // cell) * cell
