"""Cast shadows: one height plane, one sun, log2 steps."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from earthwords.synthetic.brushes.canvas import Sun
from earthwords.synthetic.noise import Plane


def shadow(height: Plane, sun: Sun, *, gsd: float, tilt: tuple[float, float] = (0.0, 0.0)) -> Plane:
    """How much of the direct light is blocked, `(row, col)` 0..1.

    The shadow's ceiling at a pixel is the highest `height - distance * tan(elevation)` towards
    the sun. A running maximum over 1, 2, 4, ... pixels finds it in log2(longest shadow) passes;
    the surface is in shadow where the ceiling is above it. With a `tilt` the picture of a point
    moves by so many metres `(x, y)` per metre of height, and the shadow's direction with it.
    """
    cotangent = 1 / np.tan(sun.elevation)
    per_metre = np.array(sun.towards) * cotangent + np.array(tilt)
    dx, dy = per_metre / np.hypot(*per_metre)
    drop = float(gsd / np.hypot(*per_metre))
    longest = min(float(height.max()) / drop, float(np.hypot(*height.shape)))
    ceiling = height.copy()
    step = 1
    while step <= max(1.0, longest):
        row, col = round(dy * step), round(dx * step)
        np.maximum(ceiling, _moved(ceiling, row, col) - np.float32(step * drop), out=ceiling)
        step *= 2
    dark = np.clip((ceiling - height) / np.float32(max(drop, 0.3)), 0.0, 1.0)
    return ndimage.uniform_filter(dark, 2 if gsd > 0.4 else 3)


def _moved(plane: Plane, rows: int, cols: int) -> Plane:
    """`moved[r, c] = plane[r + rows, c + cols]`, 0 beyond the edge."""
    height, width = plane.shape
    moved = np.zeros_like(plane)
    if abs(rows) >= height or abs(cols) >= width:
        return moved
    to_r, to_c = slice(max(0, -rows), min(height, height - rows)), slice(max(0, -cols), min(width, width - cols))
    from_r, from_c = slice(max(0, rows), min(height, height + rows)), slice(max(0, cols), min(width, width + cols))
    moved[to_r, to_c] = plane[from_r, from_c]
    return moved
