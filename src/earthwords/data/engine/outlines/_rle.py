"""Run lengths, as COCO writes masks (https://github.com/cocodataset/cocoapi, `common/maskApi.c`): our own decoder.

A mask is read column by column; runs of 0 and 1 take turns, beginning with 0. As text, a run is written in groups of
five bits from the lowest up, each plus 48 as a character, bit 32 where another group follows and bit 16 of the last one
its sign; from the fourth run on the difference to the run before the last one is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_MOST_GROUPS = 7
"""Of five bits: a run has at most 32."""


def mask_of(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """`(row, col)` of polygons, run lengths (a list, or compressed text), or a list with one of these.

    Raises:
        ValueError: it is none of them, or does not fit the image.
    """
    if isinstance(segmentation, list) and segmentation and isinstance(segmentation[0], dict):
        return np.logical_or.reduce([mask_of(part, height, width) for part in segmentation])
    if isinstance(segmentation, list):
        return _polygons(segmentation, height, width)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise ValueError("a mask is neither polygons nor run lengths")
    size = tuple(int(side) for side in segmentation.get("size", (height, width)))
    if size != (height, width):
        raise ValueError(f"a mask of {size[0]} x {size[1]} pixels belongs to an image of {height} x {width}")
    counts = segmentation["counts"]
    runs = runs_of(counts) if isinstance(counts, (str, bytes)) else [int(run) for run in counts]
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(f"the runs of a mask do not fill {height} x {width} pixels")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def runs_of(text: str | bytes) -> list[int]:
    """The lengths of the runs of a compressed mask."""
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


def _polygons(rings: list[Any], height: int, width: int) -> NDArray[np.bool_]:
    """Filled rings of x, y, x, y ..., as pixels whose centres they hold, nearly."""
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    for ring in rings:
        points = np.asarray(ring, dtype=np.float64).reshape(-1, 2) - 0.5
        if len(points) > 2 and np.isfinite(points).all():
            draw.polygon(points.ravel().tolist(), fill=1)
    return np.asarray(image, dtype=bool)
