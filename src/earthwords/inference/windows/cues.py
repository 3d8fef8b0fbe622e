"""What a pixel shows beside what words name: every band of the scene, and its texture at four scales.

For each band the stretched value `v`, `log(v + 0.05)` (differences of which are ratios), and the mean and the standard
deviation over blocks of 2, 4, 8 and 16 pixels of the working grid, between whose middles they are interpolated. Blocks
lie on multiples of their size from the upper left corner of the scene, and sums are made in one order, so a pixel has
the same cues, to the bit, in whichever window it is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from earthwords.errors import UsageError
from earthwords.geo.scene import Scene
from earthwords.inference.windows.failures import FailurePolicy
from earthwords.inference.windows.reading import read_twice
from earthwords.inference.windows.resize import CELL_COLS
from earthwords.models.taught import TaughtHead
from earthwords.types import Window

LEVELS = 4
"""Blocks of 2, 4, 8, 16 pixels."""
OF_A_BAND = 2 + 2 * LEVELS
SIDE = 2**LEVELS


class Cues:
    """The cues of an open scene; a context manager, which closes what it has opened beside the scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._scenes = [scene, *scene.others()]
        self.bands = tuple(dict.fromkeys((i, n) for i, part in enumerate(self._scenes) for n in part.choice.numbers))
        """Each band once: which of the open scenes, and its number."""

    def __len__(self) -> int:
        return OF_A_BAND * len(self.bands)

    def __enter__(self) -> Cues:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for scene in self._scenes[1:]:
            scene.close()

    def read(self, window: Window, policy: FailurePolicy) -> NDArray[np.float32]:
        """`(cue, row, col)` of a window of the working grid; of pixels without an observation they mean nothing.

        Raises:
            WindowError: a part cannot be read and may not be left out.
        """
        around = _aligned(window, self.scene.grid.shape)
        out = np.empty((len(self), window.height, window.width), np.float32)
        place = 0
        for i, scene in enumerate(self._scenes):
            data, valid = read_twice(scene.read, around, scene.grid, policy)
            numbers = scene.choice.numbers
            for number in dict.fromkeys(n for j, n in self.bands if j == i):
                values = data[numbers.index(number)]
                _of_band(values, valid, around, window, out[place : place + OF_A_BAND], self.scene.grid.shape)
                place += OF_A_BAND
        return out


def with_cues(
    rows: Iterator[tuple[int, Tensor]],
    cues: Cues,
    taught: TaughtHead,
    weights: NDArray[np.float32],
    region: Window,
    policy: FailurePolicy,
    *,
    preset: str,
) -> Iterator[tuple[int, Tensor]]:
    """Logits with what the bands of their pixels add; one cue after another, so that sums have one order.

    Args:
        rows: first row and logits `(query, row, col)` of strips of the region.
        weights: `(query, cue)`.
        preset: its name, for messages.

    Raises:
        UsageError: the scene has another number of bands.
    """
    assert taught.cue_mean is not None and taught.cue_std is not None
    if len(cues) != len(taught.cue_mean):
        raise UsageError(
            f"The preset {preset} was taught with {len(taught.cue_mean) // OF_A_BAND} bands and {cues.scene.source} "
            f"has {len(cues.bands)}; teach with scenes like it."
        )
    unlike, which = np.unique(weights, axis=0, return_inverse=True)  # words of a class are moved alike
    for row, logits in rows:
        logits = logits.clone()
        for first in range(0, logits.shape[2], CELL_COLS):
            part = logits[:, :, first : first + CELL_COLS]
            window = Window(row=row, col=region.col + first, height=part.shape[1], width=part.shape[2])
            moved = part.new_zeros(len(unlike), *part.shape[1:])
            for i, cue in enumerate(cues.read(window, policy)):
                standard = torch.from_numpy((cue - taught.cue_mean[i]) / taught.cue_std[i]).to(part.device)
                for each, weight in zip(moved, unlike[:, i].tolist(), strict=True):
                    each.add_(standard, alpha=weight)
            seen = (part != 0).any(dim=0)
            for query, number in zip(part, which.reshape(-1).tolist(), strict=True):
                query.add_(moved[number] * seen)
        yield row, logits


def _aligned(window: Window, shape: tuple[int, int]) -> Window:
    """Whole blocks of the largest size that hold the window, and one more on every side."""
    row, col = (max(0, start // SIDE * SIDE - SIDE) for start in (window.row, window.col))
    bottom = min(shape[0], -(-window.row_stop // SIDE) * SIDE + SIDE)
    right = min(shape[1], -(-window.col_stop // SIDE) * SIDE + SIDE)
    return Window(row=row, col=col, height=bottom - row, width=right - col)


def _of_band(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    around: Window,
    window: Window,
    out: NDArray[np.float32],
    shape: tuple[int, int],
) -> None:
    """Fill `out` `(cue, row, col)` from one band of the larger window."""
    inner = window.slices_in(around)
    out[0] = values[inner]
    out[1] = np.log(np.maximum(out[0], 0) + np.float32(0.05))
    count = valid.astype(np.float32)
    sums, squares = (np.multiply(part, count, dtype=np.float32) for part in (values, values * values))
    for level in range(1, LEVELS + 1):
        sums, squares, count = (_halved(part) for part in (sums, squares, count))
        known: NDArray[np.float32] = np.maximum(count, np.float32(1))
        mean: NDArray[np.float32] = sums / known
        spread: NDArray[np.float32] = np.sqrt(np.maximum(squares / known - mean * mean, np.float32(0)))
        for offset, blocks in ((0, mean), (1, spread)):
            out[2 * level + offset] = _between(blocks, around, window, 2**level, shape)


def _halved(part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of blocks of 2 x 2, of what there is of the last ones."""
    rows, cols = part.shape
    if rows % 2 or cols % 2:
        padded = np.zeros((rows + rows % 2, cols + cols % 2), np.float32)
        padded[:rows, :cols] = part
        part = padded
    top, bottom = part[0::2], part[1::2]
    down = np.add(top, bottom, dtype=np.float32)
    return np.add(down[:, 0::2], down[:, 1::2], dtype=np.float32)


def _between(
    blocks: NDArray[np.float32], around: Window, window: Window, size: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Bilinear between the middles of blocks; beyond the outermost ones of the scene their value."""
    top, bottom, down = _taps(window.row, window.height, around.row, size, shape[0])
    left, right, across = _taps(window.col, window.width, around.col, size, shape[1])
    rows = blocks[top] * (1 - down)[:, None] + blocks[bottom] * down[:, None]
    return np.add(rows[:, left] * (1 - across), rows[:, right] * across, dtype=np.float32)


def _taps(
    start: int, length: int, first: int, size: int, whole: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel the two blocks it lies between, counted from the one at `first`, and the second one's weight."""
    place = (np.arange(start, start + length) + 0.5) / size - 0.5
    last = -(-whole // size) - 1
    place = np.clip(place, 0, last)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, last)
    return low - first // size, high - first // size, (place - low).astype(np.float32)
