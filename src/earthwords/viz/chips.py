"""A small picture of a place, with the pixel in question outlined."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthwords.viz.panels import EMPTY, to_bytes

SIDE = 480
"""Pixels of the longer side, about: pictures are enlarged by a whole number."""
_LEAST = 12.0
"""Of the outline, so that it hides nothing of a small pixel."""


def chip(rgb: NDArray[np.floating], valid: NDArray[np.bool_], outline: Sequence[tuple[float, float]]) -> Image.Image:
    """A picture whose outlined place is white on black.

    Args:
        rgb: `(3, row, col)` 0..1.
        valid: `(row, col)`.
        outline: corners `(x, y)` of the place, in pixels of `rgb`.
    """
    image = np.where(valid[..., None], to_bytes(rgb), np.array(EMPTY, np.uint8))
    zoom = max(1, SIDE // max(valid.shape))
    picture = Image.fromarray(image).resize((valid.shape[1] * zoom, valid.shape[0] * zoom), Image.Resampling.NEAREST)
    corners = np.asarray(outline, float) * zoom
    middle = corners.mean(axis=0)
    size = np.ptp(corners, axis=0).min()
    if size < _LEAST:
        corners = middle + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * _LEAST / 2
    ring = [tuple(corner) for corner in (*corners, corners[0])]
    draw = ImageDraw.Draw(picture)
    draw.line(ring, fill=(0, 0, 0), width=4, joint="curve")
    draw.line(ring, fill=(255, 255, 255), width=2, joint="curve")
    return picture
