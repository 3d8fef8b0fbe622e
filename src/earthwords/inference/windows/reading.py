"""Pixels of a damaged source: two attempts, then piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import ServerError, SourceError
from earthwords.inference.windows.failures import FailurePolicy, place
from earthwords.types import Grid, Raster, Window

Pixels: TypeAlias = tuple[NDArray[Any], NDArray[np.bool_]]

PIECE = 256
"""Side of a piece, pixels; pieces lie on multiples of it, so that what is left out does not depend on the window."""


def read_twice(read: Callable[[Window], Raster], window: Window, grid: Grid, policy: FailurePolicy) -> Pixels:
    """Data `(3, row, col)` float32 and valid `(row, col)` of a window of `grid`.

    Pieces that cannot be read are 0 and invalid, and `policy` is told, if it allows that; so is all of a window that a
    server does not give in time.

    Raises:
        WindowError: a piece cannot be read and may not be left out.
    """
    data = np.zeros((3, window.height, window.width), np.float32)
    valid = np.zeros((window.height, window.width), bool)
    for _ in range(2):
        try:
            raster = read(window)
        except ServerError as error:  # no piece would be answered for either
            policy.record(error, where=place(grid, window))
            return data, valid
        except SourceError:
            continue
        return raster.data.astype(np.float32, copy=False), raster.valid
    for piece in _pieces(window):
        try:
            raster = read(piece)
        except SourceError as error:
            policy.record(error, where=place(grid, _piece_of(piece, grid)))
            continue
        rows = slice(piece.row - window.row, piece.row_stop - window.row)
        cols = slice(piece.col - window.col, piece.col_stop - window.col)
        data[:, rows, cols], valid[rows, cols] = raster.data, raster.valid
    return data, valid


def _pieces(window: Window) -> Iterator[Window]:
    """A window cut at multiples of `PIECE`."""
    for row, height in _cuts(window.row, window.row_stop):
        for col, width in _cuts(window.col, window.col_stop):
            yield Window(row=row, col=col, height=height, width=width)


def _piece_of(window: Window, grid: Grid) -> Window:
    """The whole piece that a part of it belongs to."""
    row, col = window.row // PIECE * PIECE, window.col // PIECE * PIECE
    return Window(row=row, col=col, height=min(PIECE, grid.height - row), width=min(PIECE, grid.width - col))


def _cuts(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """`(first, length)` of the parts."""
    while start < stop:
        end = min(stop, (start // PIECE + 1) * PIECE)
        yield start, end - start
        start = end
