"""Fractal noise over ground coordinates: the same metre of ground always gets the same value.

Values on a lattice come from an integer hash of the node's position, so any window of a scene,
at any ground sample distance, sees the same hills and stains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from earthwords.types import Window

Plane: TypeAlias = NDArray[np.floating[Any]]
"""`(row, col)`, or one value per cell; float32 unless arithmetic made it wider."""

_UNIFORM_TO_UNIT = 1.73
"""A uniform variable in -1..1 times this has unit variance."""


@dataclass(frozen=True, kw_only=True)
class GroundView:
    """The piece of ground that is drawn, in ground metres: x to the right, y down."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    gsd: float
    """Side of a pixel in metres."""
    x0: float = 0.0
    """Left edge."""
    y0: float = 0.0
    """Upper edge."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def extent(self) -> tuple[float, float]:
        """`(width, height)` in metres."""
        return self.width * self.gsd, self.height * self.gsd

    def window(self, window: Window) -> GroundView:
        """The view of some of the pixels."""
        return GroundView(
            height=window.height, width=window.width, gsd=self.gsd, x0=self.x0 + window.col * self.gsd,
            y0=self.y0 + window.row * self.gsd,
        )  # fmt: skip

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """`(k, 2)` ground `(x, y)` -> `(k, 2)` `(col, row)`; a pixel's centre is at +0.5."""
        return (points - (self.x0, self.y0)) / self.gsd


def hashed(rows: NDArray[np.int64], cols: NDArray[np.int64], *, seed: int) -> Plane:
    """`(len(rows), len(cols))` uniform in -1..1, a pure function of row, column and seed."""
    r = rows.astype(np.uint32)[:, None] * np.uint32(0x9E3779B1)
    c = cols.astype(np.uint32)[None, :] * np.uint32(0x85EBCA77)
    x = r ^ (c + np.uint32(seed * 0x27D4EB2F & 0xFFFFFFFF))
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x2C1B3C6D)
    x ^= x >> np.uint32(12)
    x *= np.uint32(0x297A2D39)
    x ^= x >> np.uint32(15)
    return x.astype(np.float32) * np.float32(2.0 / 2**32) - np.float32(1.0)


def resize(plane: Plane, height: int, width: int, *, box: tuple[float, float, float, float] | None = None) -> Plane:
    """Bicubic resize of a `(row, col)` float plane, or of the part `box` (left, top, right, bottom)."""
    if plane.shape == (height, width) and box is None:
        return plane
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box), dtype=np.float32)


def octave(view: GroundView, *, wavelength: float, seed: int, height: int, width: int) -> Plane:
    """One octave of value noise, about unit variance, sampled on `height x width` pixels of the view."""
    left, top = view.x0 / wavelength, view.y0 / wavelength
    right = (view.x0 + view.width * view.gsd) / wavelength
    bottom = (view.y0 + view.height * view.gsd) / wavelength
    i0, j0 = int(np.floor(top)) - 3, int(np.floor(left)) - 3
    i1, j1 = int(np.ceil(bottom)) + 3, int(np.ceil(right)) + 3
    nodes = hashed(np.arange(i0, i1), np.arange(j0, j1), seed=seed) * np.float32(_UNIFORM_TO_UNIT * 1.3)
    return resize(nodes, height, width, box=(left - j0, top - i0, right - j0, bottom - i0))


def turned_octave(view: GroundView, *, wavelength: float, turn: float, seed: int, height: int, width: int) -> Plane:
    """`octave` on a lattice turned by `turn` radians; slower, without its leaning towards the axes."""
    y, x = np.meshgrid(
        view.y0 + (np.arange(height) + 0.5) / height * view.height * view.gsd,
        view.x0 + (np.arange(width) + 0.5) / width * view.width * view.gsd,
        indexing="ij",
    )
    u = (x * np.cos(turn) + y * np.sin(turn)) / wavelength
    v = (y * np.cos(turn) - x * np.sin(turn)) / wavelength
    i0, j0 = int(np.floor(v.min())) - 3, int(np.floor(u.min())) - 3
    nodes = hashed(np.arange(i0, int(v.max()) + 5), np.arange(j0, int(u.max()) + 5), seed=seed)
    at = np.stack([v - i0, u - j0])
    return ndimage.map_coordinates(nodes * np.float32(_UNIFORM_TO_UNIT), at, order=3).astype(np.float32)


def fractal(view: GroundView, *, longest: float, shortest: float, seed: int, gain: float = 0.7) -> Plane:
    """Sum of octaves from `longest` to `shortest` metres, `(row, col)`, about unit variance.

    Each octave is `gain` times the one before it. Long waves are summed on small planes and
    enlarged, so the cost is little more than that of the last octave.
    """
    total: Plane | None = None
    weight, power, wavelength, step = 1.0, 0.0, longest, 0
    while wavelength >= max(shortest, view.gsd * 0.8) or total is None:
        factor = max(1.0, wavelength / (4.0 * view.gsd))
        height, width = max(2, round(view.height / factor)), max(2, round(view.width / factor))
        wave = octave(view, wavelength=wavelength, seed=seed * 31 + step, height=height, width=width)
        total = weight * wave if total is None else resize(total, height, width) + np.float32(weight) * wave
        power += weight * weight
        weight, wavelength, step = weight * gain, wavelength / 2, step + 1
    return resize(total, view.height, view.width) / np.float32(np.sqrt(power))


def grain(view: GroundView, *, seed: int) -> Plane:
    """Independent noise per pixel, uniform with unit variance, `(row, col)`."""
    rows = np.arange(view.height) + round(view.y0 / view.gsd)
    cols = np.arange(view.width) + round(view.x0 / view.gsd)
    return hashed(rows, cols, seed=seed) * np.float32(_UNIFORM_TO_UNIT)
