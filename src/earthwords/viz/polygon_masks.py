"""Polygons as masks of pixels, by Pillow's rule for what is inside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw


def filled(rings: Iterable[tuple[NDArray[Any], int]], height: int, width: int) -> NDArray[np.bool_]:
    """`(row, col)` bool: rings drawn one over the other.

    Args:
        rings: corners `(n, 2)` as x, y in pixels, the centre of the first pixel at 0, 0; and 1 to fill, 0 to clear.
    """
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    for corners, value in rings:
        draw.polygon(corners.ravel().tolist(), fill=value)
    return np.asarray(image, dtype=bool)
