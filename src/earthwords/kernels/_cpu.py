"""The loops of the fast CPU paths, compiled by numba at first use; float32, arrays `(row, col, channel)`.

Channels are contiguous, so that every inner loop is a vector operation, and each pixel's kernel is read once
for all channels. The windows of FeatUp (7) and SimFeatUp (11) have blocks of their own, `_blocks`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.compiling import compiled
from earthwords.kernels._blocks import CHANNELS, LANES, PIXELS, filter_block, product_block

Floats = NDArray[np.float32]

_OPTIONS = {"fastmath": True, "nogil": True, "error_model": "numpy"}
"""One thread each: windows are computed in several threads, and numba's own may not be entered by two."""


def spaced(channels: int) -> int:
    """Numbers from one pixel to the next in a source of `filter_rows`: a window's pixels a power of 2 of bytes apart
    would all fall into the same few lines of the cache."""
    return channels + CHANNELS if channels % 256 == 0 else channels


@compiled(**_OPTIONS)
def filter_rows(source: Floats, kernels: Floats, out: Floats) -> None:
    """`out[y, x] = sum_ij kernels[i d + j, y, x] * source[y + i, x + j]`.

    source `(h + d - 1, w + d - 1, c or more)`, kernels `(d * d, h, w)`, out `(h, w, c)`; contiguous.
    """
    height, width, channels = out.shape
    side = source.shape[0] - height + 1
    if width < PIXELS or channels % CHANNELS or side not in (7, 11):
        _filter_any(source, kernels, out)
        return
    pixel = 4 * source.shape[2]
    row = pixel * source.shape[1]
    weights = np.empty((side * side, PIXELS), np.float32)
    for y in range(height):
        for tile in range(0, width, PIXELS):
            x = min(tile, width - PIXELS)
            for k in range(side * side):
                for i in range(PIXELS):
                    weights[k, i] = kernels[k, y, x + i]
            for c in range(0, channels, CHANNELS):
                values = source.ctypes.data + y * row + x * pixel + 4 * c
                target = out.ctypes.data + 4 * ((y * width + x) * channels + c)
                if side == 11:
                    filter_block(11, values, row, pixel, weights.ctypes.data, 4 * PIXELS, 4 * channels, target)
                else:
                    filter_block(7, values, row, pixel, weights.ctypes.data, 4 * PIXELS, 4 * channels, target)


@compiled(**_OPTIONS)
def _filter_any(source: Floats, kernels: Floats, out: Floats) -> None:
    """`filter_rows` of any window and any number of channels."""
    height, width, channels = out.shape
    side = source.shape[0] - height + 1
    for y in range(height):
        for x in range(width):
            sums = out[y, x]
            sums[:] = 0
            for i in range(side):
                for j in range(side):
                    weight, pixel = kernels[i * side + j, y, x], source[y + i, x + j]
                    for c in range(channels):
                        sums[c] += weight * pixel[c]


@compiled(**_OPTIONS)
def window_products(centres: Floats, keys: Floats, first: int, out: Floats) -> None:
    """`out[i d + j, y, x] = <centres[:, y', x + r], keys[:, y' - r + i, x + j]>`, `y' = first + y + r`.

    centres and keys `(dim, H + 2 r, w + 2 r)`, out `(d * d, h, w)`; contiguous.
    """
    height, width = out.shape[1:]
    dim, rows, cols = keys.shape
    side = cols - width + 1
    if width < LANES or side not in (7, 11):
        _products_any(centres, keys, first, out)
        return
    radius, depth, offset = side // 2, 4 * rows * cols, 4 * height * width
    for y in range(height):
        for tile in range(0, width, LANES):
            x = min(tile, width - LANES)
            centre = centres.ctypes.data + 4 * ((first + y + radius) * cols + x + radius)
            for i in range(side):
                other = keys.ctypes.data + 4 * ((first + y + i) * cols + x)
                target = out.ctypes.data + i * side * offset + 4 * (y * width + x)
                if side == 11:
                    product_block(11, dim, depth, centre, other, offset, target)
                else:
                    product_block(7, dim, depth, centre, other, offset, target)


@compiled(**_OPTIONS)
def _products_any(centres: Floats, keys: Floats, first: int, out: Floats) -> None:
    """`window_products` of any window."""
    offsets, height, width = out.shape
    side = keys.shape[2] - width + 1
    radius = side // 2
    for k in range(offsets):
        i, j = k // side, k % side
        for y in range(height):
            sums = out[k, y]
            sums[:] = 0
            for d in range(keys.shape[0]):
                centre, other = centres[d, first + y + radius, radius:], keys[d, first + y + i, j:]
                for x in range(width):
                    sums[x] += centre[x] * other[x]


@compiled(**_OPTIONS)
def double(source: Floats, weights: Floats, out: Floats, radius: int) -> None:
    """Bicubic enlargement by 2 (torch's, align_corners False) with a border of `radius` mirrored pixels.

    source `(h, w, c)`, weights `(2, 4)` of even and odd pixels, out `(2 h + 2 radius, 2 w + 2 radius, c or more)`.
    """
    height, width, channels = source.shape
    for y in range(2 * height):
        rows = np.empty((width, channels), np.float32)
        top = (y - 1) // 2 - 1 if y % 2 else y // 2 - 2
        v = weights[y % 2]
        r0, r1 = source[min(max(top, 0), height - 1)], source[min(max(top + 1, 0), height - 1)]
        r2, r3 = source[min(max(top + 2, 0), height - 1)], source[min(max(top + 3, 0), height - 1)]
        for x in range(width):
            for c in range(channels):
                rows[x, c] = v[0] * r0[x, c] + v[1] * r1[x, c] + v[2] * r2[x, c] + v[3] * r3[x, c]
        line = out[y + radius]
        for x in range(2 * width):
            left = (x - 1) // 2 - 1 if x % 2 else x // 2 - 2
            u = weights[x % 2]
            c0, c1 = rows[min(max(left, 0), width - 1)], rows[min(max(left + 1, 0), width - 1)]
            c2, c3 = rows[min(max(left + 2, 0), width - 1)], rows[min(max(left + 3, 0), width - 1)]
            target = line[x + radius]
            for c in range(channels):
                target[c] = u[0] * c0[c] + u[1] * c1[c] + u[2] * c2[c] + u[3] * c3[c]
        for x in range(radius):
            line[radius - 1 - x] = line[radius + 1 + x]
            line[radius + 2 * width + x] = line[radius + 2 * width - 2 - x]
    for y in range(radius):
        out[radius - 1 - y] = out[radius + 1 + y]
        out[radius + 2 * height + y] = out[radius + 2 * height - 2 - y]
