"""Where SAM's automatic masks are asked for: grids of points, and the crops that an image is also looked at in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class CropBox:
    """A part of an image: `x0 <= x < x1`, `y0 <= y < y1`."""

    x0: int
    y0: int
    x1: int
    y1: int
    layer: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x0, y0, x1, y1."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def slices(self) -> tuple[slice, slice]:
        """`(rows, cols)`, to index an image."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def point_grid(side: int) -> NDArray[np.float64]:
    """`(side * side, 2)`: x and y in 0..1, row by row."""
    places = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
    return np.stack([np.tile(places, side), np.repeat(places, side)], axis=1)


def layer_grid(side: int, layer: int, factor: int) -> NDArray[np.float64]:
    """The grid of a layer of crops, of `factor` times fewer points a side than the layer before."""
    return point_grid(int(side / factor**layer))


def crops_of(shape: tuple[int, int], layers: int, overlap_ratio: float) -> list[CropBox]:
    """The whole image, then layer after layer 2, 4, ... crops a side, column after column.

    Args:
        shape: rows and columns of the image.
        overlap_ratio: what neighbours of the first layer share, of the image's shorter side.
    """
    height, width = shape
    found = [CropBox(x0=0, y0=0, x1=width, y1=height)]
    for layer in range(1, layers + 1):
        count = 2**layer
        overlap = int(overlap_ratio * min(shape) * (2 / count))
        tall, wide = (math.ceil((overlap * (count - 1) + side) / count) for side in shape)
        starts = ([(side - overlap) * i for i in range(count)] for side in (wide, tall))
        found += [
            CropBox(x0=x0, y0=y0, x1=min(x0 + wide, width), y1=min(y0 + tall, height), layer=layer)
            for x0, y0 in product(*starts)
        ]
    return found
