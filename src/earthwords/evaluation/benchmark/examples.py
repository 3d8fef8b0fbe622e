"""Pictures of an example: the image as it was seen, the truth and the prediction in the colours of the set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthwords.types import Colour

SIDE = 640
"""Longest side of a picture, pixels."""
LIGHT, DARK = 190, 120
"""Greys of the stripes of pixels without a class."""
STRIPE = 5
"""Width of a stripe, pixels."""


def fitted(image: NDArray[np.uint8], side: int = SIDE) -> Image.Image:
    """An image `(row, col, 3)`, averaged down to a longest side of `side`."""
    picture = Image.fromarray(image)
    return picture.resize(_size(image.shape[:2], side), Image.Resampling.BOX)


def painted(labels: NDArray[np.integer], colours: Sequence[Colour], side: int = SIDE) -> Image.Image:
    """Labels `(row, col)` in colours, at most `side` pixels a side; what is no class in stripes of grey."""
    width, height = _size(labels.shape, side)
    rows, cols = (
        ((np.arange(count) + 0.5) * length / count).astype(np.int64)
        for count, length in zip((height, width), labels.shape, strict=True)
    )
    shown = labels[rows[:, None], cols[None, :]]
    none = (shown < 0) | (shown >= len(colours))
    out = np.array([*colours, (0, 0, 0)], np.uint8)[np.where(none, len(colours), shown)]
    stripes = (np.add.outer(np.arange(height), np.arange(width)) // STRIPE) % 2
    out[none] = np.where(stripes, DARK, LIGHT)[none][:, None]
    return Image.fromarray(out)


def _size(shape: Sequence[int], side: int) -> tuple[int, int]:
    """Width and height of a picture of `(row, col)` pixels."""
    share = min(1.0, side / max(shape))
    height, width = (max(1, round(length * share)) for length in shape)
    return width, height
