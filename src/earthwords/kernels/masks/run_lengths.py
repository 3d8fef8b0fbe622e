"""Masks as lengths of runs, and these as COCO's text (https://github.com/cocodataset/cocoapi, `common/maskApi.c`).

A mask is read column by column; runs of 0 and 1 take turns, beginning with 0. As text, a run is written in groups of
five bits from the lowest up, each plus 48 as a character, bit 32 where another group follows and bit 16 of the last one
its sign; from the fourth run on the difference to the run before the last one is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MOST_GROUPS = 7
"""Of five bits: a run has at most 32."""


def runs_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of the runs of a mask `(row, col)`; the first one is 0 where the first pixel is set."""
    flat = np.asarray(mask, bool).ravel(order="F")
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(turns, prepend=0, append=flat.size)
    return np.concatenate([[0], runs]) if flat.size and flat[0] else runs


def mask_of_runs(runs: ArrayLike, height: int, width: int) -> NDArray[np.bool_]:
    """`(row, col)` of lengths that add up to the pixels."""
    lengths = np.asarray(runs, np.int64)
    values: NDArray[np.bool_] = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return values.reshape(width, height).T


def text_of_runs(runs: Sequence[int] | NDArray[np.int64]) -> str:
    """COCO's text."""
    found, lengths = bytearray(), [int(run) for run in runs]
    for i, run in enumerate(lengths):
        value = run - lengths[i - 2] if i > 2 else run
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            found.append(group + (32 if more else 0) + 48)
    return found.decode("ascii")


def runs_of_text(text: str | bytes) -> list[int]:
    """The lengths of the runs of COCO's text.

    Raises:
        ValueError: it is damaged.
    """
    groups = (text.encode("ascii", "replace") if isinstance(text, str) else text).strip()
    runs: list[int] = []
    value = shift = 0
    for byte in groups:
        group = byte - 48
        if not 0 <= group < 64 or shift >= 5 * _MOST_GROUPS:
            raise ValueError("the text of a mask is damaged")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("the text of a mask is cut off")
    return runs
