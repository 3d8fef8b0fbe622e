"""What a brush is given, and the geometry and colour sums all brushes share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from earthwords.synthetic.brushes.canvas import Canvas, Cells, Stroke
from earthwords.synthetic.noise import Plane
from earthwords.synthetic.plan import Stamps


@dataclass(frozen=True, kw_only=True)
class BrushInput:
    """The cells of a chunk with the numbers most brushes need, one row per cell."""

    cells: Cells
    stamps: Stamps
    """The rows of the cells' stamps (repeated)."""
    canvas: Canvas

    @staticmethod
    def of(cells: Cells, stamps: Stamps, canvas: Canvas) -> BrushInput:
        return BrushInput(cells=cells, stamps=stamps.take(cells.stamp), canvas=canvas)

    @property
    def gsd(self) -> float:
        return self.canvas.view.gsd

    def noise(self, band: str) -> Plane:
        """A band of the ground's noise at the cells."""
        plane: Plane = getattr(self.canvas.noise, band)
        return plane.reshape(-1)[self.cells.pixel]

    def shade(self, gu: Plane, gv: Plane) -> Plane:
        """Shade of a surface whose height grows by `gu` along and `gv` across the stamp."""
        cos, sin = np.cos(self.stamps.angle), np.sin(self.stamps.angle)
        return self.canvas.sun.shade(gu * cos - gv * sin, gu * sin + gv * cos)


def box_distance(u: Plane, v: Plane, half_u: Plane, half_v: Plane) -> Plane:
    """Signed distance to a rectangle, negative inside."""
    return np.maximum(np.abs(u) - half_u, np.abs(v) - half_v)


def capsule_distance(u: Plane, v: Plane, p: tuple[Plane, Plane], q: tuple[Plane, Plane], radius: Plane) -> Plane:
    """Signed distance to a thick line from p to q, negative inside."""
    du, dv = q[0] - p[0], q[1] - p[1]
    share = np.clip(((u - p[0]) * du + (v - p[1]) * dv) / np.maximum(du * du + dv * dv, 1e-6), 0, 1)
    return np.hypot(u - p[0] - share * du, v - p[1] - share * dv) - radius


def tinted(colour: Plane, factor: Plane) -> Plane:
    """Colours made brighter or darker, `(cell, 3)`."""
    return colour * factor[:, None]


def blended(colour: Plane, other: tuple[float, float, float], share: Plane) -> Plane:
    """Colours mixed with one other colour, by `share` 0..1 per cell."""
    return colour + (np.asarray(other, dtype=np.float32) - colour) * share[:, None]


__all__ = ["BrushInput", "Stroke", "blended", "box_distance", "capsule_distance", "tinted"]
