"""Windowed resampling whose result does not depend on the window.

A triangle filter: bilinear when enlarging, stretched by the scale (hence antialiased) when shrinking, as
`PIL.Image.BILINEAR` does it. Output pixel `i` of an axis lies at `(i + 0.5) * scale` source pixels; source
pixel `j` weighs `max(0, 1 - |j + 0.5 - centre| / support)` with `support = max(scale, 1)`.

Weights come from the pixel's place in the whole scene, in float64, and each output pixel adds its taps one
by one in ascending order. So a window read alone and the same window cut out of a larger one are equal
bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthwords.types import Window

if TYPE_CHECKING:
    from scipy import sparse

Shape = tuple[int, int]

CHUNK_PIXELS = 2**21
"""At most about so many native pixels are resampled at once."""


def source_window(window: Window, *, source: Shape, target: Shape) -> Window:
    """The source pixels that `window` of the target grid is made of."""
    row, row_stop = _hull(window.row, window.row_stop, source[0], target[0])
    col, col_stop = _hull(window.col, window.col_stop, source[1], target[1])
    return Window(row=row, col=col, height=row_stop - row, width=col_stop - col)


def resample(
    data: NDArray[np.float32],
    valid: NDArray[np.bool_],
    window: Window,
    *,
    source: Shape,
    target: Shape,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`window` of the target grid.

    Args:
        data: `(band, row, col)` of exactly `source_window(window)`, any value where invalid.
        valid: `(row, col)`; invalid pixels weigh nothing, so nodata does not bleed.
        window: in pixels of the target grid.
        source: `(height, width)` of the whole source grid.
        target: `(height, width)` of the whole target grid.

    Returns:
        float32 `(band, row, col)`, 0 where invalid, and valid `(row, col)`: where more than half of the
        filter's weight fell on valid pixels.
    """
    down = _weights(window.row, window.row_stop, source[0], target[0])
    across = _weights(window.col, window.col_stop, source[1], target[1])
    layers = np.concatenate([np.where(valid, data, 0), valid[None]], dtype=np.float64)
    summed = _apply(across, _apply(down, layers, axis=1), axis=2)
    weight = summed[-1]
    kept = weight > 0.5
    result = np.divide(summed[:-1], weight, out=np.zeros_like(summed[:-1]), where=kept)
    return result.astype(np.float32), kept


def _apply(weights: sparse.csr_array, layers: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Weighted sums along an axis; a sparse row adds its entries in ascending order."""
    moved = np.moveaxis(layers, axis, 0)
    flat = weights @ np.ascontiguousarray(moved).reshape(moved.shape[0], -1)
    return np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)


def _hull(start: int, stop: int, source: int, target: int) -> tuple[int, int]:
    """First and last+1 source pixel within reach of target pixels `start..stop`, inside the source."""
    scale = source / target
    reach = max(scale, 1.0)
    first = math.floor((start + 0.5) * scale - reach - 0.5)
    last = math.ceil((stop - 0.5) * scale + reach + 0.5)
    return max(first, 0), min(last, source)


def _weights(start: int, stop: int, source: int, target: int) -> sparse.csr_array:
    """`(target pixel, source pixel)` weights, each row adding up to 1; columns count from the hull."""
    from scipy import sparse  # takes longer to import than most scenes, which keep their grid, to be read

    scale = source / target
    reach = max(scale, 1.0)
    first, last = _hull(start, stop, source, target)
    centre = (np.arange(start, stop) + 0.5) * scale
    taps = np.floor(centre - reach - 0.5).astype(np.int64)[:, None] + np.arange(math.ceil(2 * reach) + 2)
    weight = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centre[:, None]) / reach)
    used = (weight > 0) & (taps >= 0) & (taps < source)
    weight = np.where(used, weight, 0.0)
    weight /= np.add.accumulate(weight, axis=1)[:, -1:]
    pointer = np.concatenate([[0], np.cumsum(used.sum(axis=1))])
    return sparse.csr_array((weight[used], taps[used] - first, pointer), shape=(stop - start, last - first))


def chunks(window: Window, *, source: tuple[int, int], target: tuple[int, int]) -> Iterator[Window]:
    """Parts of `window` (target grid) small enough that their source pixels fit in memory."""
    needed = source_window(window, source=source, target=target)
    if needed.height * needed.width <= CHUNK_PIXELS or window.height * window.width == 1:
        yield window
        return
    wide = window.width > 1 and (needed.height < needed.width or window.height == 1)
    for half in window.halves(axis=int(wide)):
        yield from chunks(half, source=source, target=target)
