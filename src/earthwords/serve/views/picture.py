"""What a view shows, as the page wants it: a score picture in Web Mercator, areas by score, single places.

A pixel of the picture is the most probable class + 1 (0: nothing observed), its score in steps of 1/250, and the score
of the runner-up. It is nearest neighbour, so a colour means what it says.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS, Transformer

from earthwords.types import SCORE_STEPS, Grid

_LATTICE = 33
"""Places a side at which coordinates are carried over; between them they are interpolated."""
_MERCATOR, _DEGREES = CRS.from_epsg(3857), CRS.from_epsg(4326)


@dataclass(frozen=True, kw_only=True)
class TopScores:
    """The two best classes of every pixel, `(row, col)` uint8 each."""

    top: NDArray[np.uint8]
    """Class + 1; 0: nothing observed."""
    score: NDArray[np.uint8]
    """0..250."""
    second: NDArray[np.uint8]
    """As `top`; 0: there is but one class."""
    second_score: NDArray[np.uint8]

    @classmethod
    def of(cls, probabilities: NDArray[np.float32], labels: NDArray[Any], *, nodata: int) -> TopScores:
        """
        Args:
            probabilities: `(class, row, col)`, NaN where nothing was observed.
            labels: `(row, col)` at a threshold of 0: where no word fits they are the background's, or nodata.
        """
        seen = np.nan_to_num(probabilities)
        values = np.rint(seen * SCORE_STEPS).astype(np.uint8)
        rows, cols = np.ogrid[: labels.shape[0], : labels.shape[1]]
        none = labels == nodata
        first = np.where(none, 0, labels).astype(np.intp)
        score = values[first, rows, cols]
        others = seen.copy()
        others[first, rows, cols] = -1
        next_best = others.argmax(axis=0)
        second_score = np.where(len(seen) > 1, values[next_best, rows, cols], 0)
        second = next_best + 1 if len(seen) > 1 else np.zeros(labels.shape, np.intp)
        planes = (first + 1, score, second, np.minimum(second_score, score))
        return cls(**{
            name: np.where(none, 0, plane).astype(np.uint8)
            for name, plane in zip(("top", "score", "second", "second_score"), planes, strict=True)
        })  # fmt: skip

    def at(self, row: int, col: int) -> tuple[int, float, int, float]:
        """Class, score, runner-up (-1: none) and its score of a pixel; class -1: nothing observed."""
        numbers = (int(plane[row, col]) for plane in (self.top, self.score, self.second, self.second_score))
        top, score, second, below = numbers
        return top - 1, score / SCORE_STEPS, second - 1, below / SCORE_STEPS

    def areas(self, classes: int, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(class, 251)`: area whose most probable class this is, by its score.

        Args:
            classes: how many there are.
            pixels: areas of pixels, `(row, col)` or `(row, 1)`.
        """
        seen = self.top > 0
        codes = (self.top[seen].astype(np.int64) - 1) * (SCORE_STEPS + 1) + self.score[seen]
        weights = np.broadcast_to(pixels, seen.shape)[seen]
        summed = np.bincount(codes, weights, minlength=classes * (SCORE_STEPS + 1))[: classes * (SCORE_STEPS + 1)]
        return np.asarray(summed.reshape(classes, SCORE_STEPS + 1), np.float64)


def score_picture(scores: TopScores, placed: Grid) -> tuple[bytes, list[list[float]], tuple[int, int]]:
    """The scores in EPSG:3857.

    Args:
        placed: grid of the scores, in a CRS that leads to the earth.

    Returns:
        PNG; its corners `[lon, lat]`: upper left, upper right, lower right, lower left; its width and height.
    """
    west, south, east, north = mercator_bounds(placed)
    pixel = math.sqrt((east - west) * (north - south) / (placed.width * placed.height))
    width, height = (max(1, round(side / pixel)) for side in (east - west, north - south))
    x = west + (np.arange(width) + 0.5) * (east - west) / width
    y = north - (np.arange(height) + 0.5) * (north - south) / height
    cols, rows = _pixels_of(placed, x, y)
    inside = (rows >= 0) & (rows < placed.height) & (cols >= 0) & (cols < placed.width)
    rows, cols = rows.clip(0, placed.height - 1), cols.clip(0, placed.width - 1)
    planes = [np.where(inside, plane[rows, cols], 0) for plane in (scores.top, scores.score, scores.second_score)]
    into = io.BytesIO()
    Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).save(into, format="PNG", compress_level=3)
    back = Transformer.from_crs(_MERCATOR, _DEGREES, always_xy=True)
    corners = [list(back.transform(*c)) for c in ((west, north), (east, north), (east, south), (west, south))]
    return into.getvalue(), corners, (width, height)


def mercator_bounds(placed: Grid) -> tuple[float, float, float, float]:
    """West, south, east and north of a grid in EPSG:3857."""
    steps = np.linspace(0, 1, _LATTICE)
    across = np.concatenate([steps, steps, 0 * steps, 0 * steps + 1]) * placed.width
    down = np.concatenate([0 * steps, 0 * steps + 1, steps, steps]) * placed.height
    x, y = _of_pixels(placed, across, down)
    to = Transformer.from_crs(placed.crs, _MERCATOR, always_xy=True)
    east, north = to.transform(x, y)
    return float(np.min(east)), float(np.min(north)), float(np.max(east)), float(np.max(north))


def lonlat_of(grid: Grid, rows: NDArray[Any], cols: NDArray[Any]) -> NDArray[np.float64]:
    """`(n, 2)` degrees of places in pixels of a placed grid."""
    x, y = _of_pixels(grid, np.asarray(cols, float), np.asarray(rows, float))
    to = Transformer.from_crs(grid.crs, _DEGREES, always_xy=True)
    return np.stack(to.transform(x, y), axis=-1).astype(np.float64)


def _of_pixels(grid: Grid, cols: NDArray[Any], rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    t = grid.transform
    return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f


def _pixels_of(grid: Grid, x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows `(len(y), len(x))` of a grid under places of Web Mercator."""
    to = Transformer.from_crs(_MERCATOR, grid.crs, always_xy=True)
    few_x, few_y = np.linspace(x[0], x[-1], _LATTICE), np.linspace(y[0], y[-1], _LATTICE)
    own_x, own_y = to.transform(*np.meshgrid(few_x, few_y))
    t = ~grid.transform
    cols, rows = t.a * own_x + t.b * own_y + t.c, t.d * own_x + t.e * own_y + t.f
    down, across = _between(len(y)), _between(len(x))
    found = [np.floor(down @ part @ across.T).astype(np.int64) for part in (cols, rows)]
    return found[0], found[1]


def _between(count: int) -> NDArray[np.float64]:
    """`(count, _LATTICE)`: what the places of the lattice count at places that are evenly spread over it."""
    exact = np.linspace(0, _LATTICE - 1, count) if count > 1 else np.zeros(1)
    first = np.minimum(exact.astype(int), _LATTICE - 2)
    weights = np.zeros((count, _LATTICE))
    weights[np.arange(count), first] = 1 - (exact - first)
    weights[np.arange(count), first + 1] = exact - first
    return weights
