"""The loops behind `rings`, compiled by numba at first use.

A ring is a cyclic row of int32: the corners of pixel outlines turn by right angles, so each has one number of
its own, the row after a vertical side, the column after a horizontal one: row, col, row, col, ... At an even
place 2 i lies the corner `(col v[2 i - 1], row v[2 i])`, behind it `(col v[2 i + 1], row v[2 i])`. The inside
lies to the right of the way, as an image is looked at. A number is stored as its complement, which is negative, at
a corner where the component may turn out to touch itself.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.compiling import compiled

Array: TypeAlias = NDArray[Any]

_OPTIONS = {"nogil": True}


@compiled(**_OPTIONS)
def _grown(array: Array) -> Array:
    larger = np.empty(2 * len(array), array.dtype)
    for i in range(len(array)):  # numba takes seconds to compile the assignment of a slice
        larger[i] = array[i]
    return larger


@compiled(**_OPTIONS)
def _plain(value: int) -> int:
    return value if value >= 0 else ~value


@compiled(**_OPTIONS)
def _walk(
    ids: Array,
    twin: Array,
    top: int,
    seen: Array,
    values: Array,
    size: int,
    place: tuple[int, int],
    way: tuple[int, int],
) -> tuple[Array, int, int]:
    """Follow an outline from the pixel `place` on, into the direction `way` `(row, col)`, with the pixel at the right.

    Appends to `values`; returns them, their new number and where the walk left the strip (-1: it came back).
    """
    (row, col), (down, right) = place, way
    own = ids[row, col]
    while True:
        if right == 1:
            seen[row, col] = True
        elif down == 1 and row == len(ids) - 1:
            return values, size, ids.shape[1] + col
        elif down == -1 and row == 0:
            return values, size, col
        beside = ids[row + down - right, col + right + down]
        if beside != own and ids[row + down, col + right] == own:
            row, col = row + down, col + right
            continue
        value = top + row - 1 + (down == 1) if down else col - 1 + (right == 1)
        if beside == own:
            row, col = row + down - right, col + right + down
            down, right = -right, down
        else:
            if beside >= 0 and twin[beside] == twin[own]:
                value = ~value
            down, right = right, -down
        if (row, col) == place and (down, right) == way:
            return values, size, -1
        if size == len(values):
            values = _grown(values)
        values[size] = value
        size += 1


@compiled(**_OPTIONS)
def trace(ids: Array, twin: Array, top: int) -> tuple[Array, Array]:
    """Outlines of the components of a strip.

    Sides between its rows are followed, and those towards the row above it; what reaches through that row or
    the last one is a chain with open ends. Where two pixels of a component touch at a corner only, the way
    crosses from one to the other, so that no ring touches itself; where that is not known yet it does not,
    and the corner is marked.

    Args:
        ids: `(row, col)` int32, component of each pixel, -1 for none; the row above the strip comes first, and
            the outer columns are -1.
        twin: `(component,)` components with equal values may turn out to be one.
        top: row of the grid at which the strip begins.

    Returns the numbers of all outlines, and int64, four for each outline: where its numbers end, its component, its
    start and its stop: -1 for a closed ring, a column of `ids` for the row above, columns + column for the last.
    """
    rows, cols = ids.shape
    seen = np.zeros(ids.shape, np.bool_)
    values, size = np.empty(4096, np.int32), 0
    outlines, count = np.empty(4096, np.int64), 0
    for row in range(-1, rows):  # first what enters from above, then from below, then what is left: rings, by their top
        for col in range(1, cols - 1):
            if row == -1:
                place, way, start = (0, col), (1, 0), col
                found = ids[0, col] >= 0 and ids[0, col + 1] != ids[0, col]
            elif row == 0:
                place, way, start = (rows - 1, col), (-1, 0), cols + col
                found = ids[rows - 1, col] >= 0 and ids[rows - 1, col - 1] != ids[rows - 1, col]
            else:
                place, way, start = (row, col), (0, 1), -1
                found = ids[row, col] >= 0 and ids[row - 1, col] != ids[row, col] and not seen[row, col]
            if not found:
                continue
            if start < 0:
                if size == len(values):
                    values = _grown(values)
                values[size] = top + row - 1
                size += 1
            values, size, stop = _walk(ids, twin, top, seen, values, size, place, way)
            if count == len(outlines):
                outlines = _grown(outlines)
            outlines[count], outlines[count + 1] = size, ids[place]
            outlines[count + 2], outlines[count + 3] = start, stop
            count += 4
    return values[:size].copy(), outlines[:count].copy()


@compiled(**_OPTIONS)
def chase(after: Array) -> tuple[Array, Array, Array]:
    """Paths and cycles of nodes, each of which has one next node or none (-1).

    Returns the nodes in order, where each path or cycle ends, and whether it is a cycle.
    """
    entered = np.zeros(len(after), np.bool_)
    for node in after:
        if node >= 0:
            entered[node] = True
    order, done = np.empty(len(after), np.int64), np.zeros(len(after), np.bool_)
    ends, closed = np.empty(len(after), np.int64), np.empty(len(after), np.bool_)
    size = count = 0
    for cycles in (False, True):
        for first in range(len(after)):
            if done[first] or (entered[first] and not cycles):
                continue
            node = first
            while node >= 0 and not done[node]:
                done[node] = True
                order[size] = node
                size += 1
                node = after[node]
            ends[count], closed[count] = size, cycles
            count += 1
    return order, ends[:count], closed[:count]


@compiled(**_OPTIONS)
def take_slices(values: Array, starts: Array, sizes: Array) -> Array:
    """The slices of `values` one behind the other."""
    out, place = np.empty(sizes.sum(), values.dtype), 0
    for i in range(len(starts)):
        for k in range(sizes[i]):
            out[place + k] = values[starts[i] + k]
        place += sizes[i]
    return out


@compiled(**_OPTIONS)
def are_shells(values: Array, starts: Array, sizes: Array) -> Array:
    """`(ring,)` whether it is the outside of its polygon, by the sign of its area."""
    out = np.empty(len(starts), np.bool_)
    for i in range(len(starts)):
        ring, area = values[starts[i] : starts[i] + sizes[i]], 0
        before = _plain(ring[-1])
        for k in range(0, len(ring), 2):
            col = _plain(ring[k + 1])
            area += _plain(ring[k]) * (before - col)
            before = col
        out[i] = area > 0
    return out


@compiled(**_OPTIONS)
def corners(values: Array, starts: Array, sizes: Array) -> Array:
    """`(corner, 2)` float64 x and y of all rings, closed, the inside to their left on the map (as GDAL has it)."""
    out, place = np.empty((sizes.sum() + len(sizes), 2)), 0
    for i in range(len(starts)):
        start, size = starts[i], sizes[i]
        out[place, 0], out[place, 1] = _plain(values[start + size - 1]), _plain(values[start])
        for k in range(size - 1, 0, -1):
            place += 1
            own, other = _plain(values[start + k]), _plain(values[start + k - 1])
            out[place, 0], out[place, 1] = (own, other) if k % 2 else (other, own)
        out[place + 1, 0], out[place + 1, 1] = out[place - size + 1, 0], out[place - size + 1, 1]
        place += 2
    return out
