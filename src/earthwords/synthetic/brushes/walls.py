"""Buildings seen from the side: roofs lean away from the sensor's foot point, walls show below them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earthwords.synthetic.brushes.canvas import Canvas, Cells, Stroke, splat
from earthwords.synthetic.brushes.roofs import ROUND
from earthwords.synthetic.noise import Plane
from earthwords.synthetic.plan import Stamps
from earthwords.synthetic.scene import LABEL

Tilt = tuple[float, float]
"""Metres `(x, y)` by which a point moves in the picture per metre of height."""

LEANING = {"roof": 1.0, "panels": 1.0, "plant": 0.65, "wood": 0.65}
"""Kinds of stamps that lean, and at which share of their height their middle is."""
_STOREY = 3.2


def leaned(stamps: Stamps, tilt: Tilt, *, share: float) -> Stamps:
    """The stamps where the sensor sees their tops."""
    top = (stamps.base + stamps.height) * np.float32(share)
    x, y = (np.float32(t) * top for t in tilt)
    return replace(stamps, x=stamps.x + x, y=stamps.y + y)


def paint_walls(canvas: Canvas, stamps: Stamps, tilt: Tilt) -> None:
    """Draw the walls that face the sensor, from the ground (or what they stand on) to the eaves."""
    stamps = stamps.take((stamps.style != ROUND) & (stamps.height * np.hypot(*tilt) > canvas.view.gsd / 2))
    for k in range(4):
        outward = stamps.angle + np.float32(k * np.pi / 2)
        towards = np.cos(outward) * np.float32(tilt[0]) + np.sin(outward) * np.float32(tilt[1])
        facing = towards < -1e-3
        if facing.any():
            _paint_side(canvas, stamps.take(facing), outward[facing], tilt, along_u=k % 2 == 1)


def _paint_side(canvas: Canvas, stamps: Stamps, outward: Plane, tilt: Tilt, *, along_u: bool) -> None:
    """One side of every building; it is a parallelogram: along the wall, and up along the tilt."""
    normal_x, normal_y = np.cos(outward), np.sin(outward)
    half, reach = (stamps.length / 2, stamps.width / 2) if along_u else (stamps.width / 2, stamps.length / 2)
    base, height = stamps.base, stamps.height
    foot_x = stamps.x + normal_x * reach + np.float32(tilt[0]) * base
    foot_y = stamps.y + normal_y * reach + np.float32(tilt[1]) * base
    lean_x, lean_y = np.float32(tilt[0]) * height, np.float32(tilt[1]) * height
    boxes = replace(
        stamps,
        x=(foot_x + lean_x / 2).astype(np.float32),
        y=(foot_y + lean_y / 2).astype(np.float32),
        angle=np.zeros_like(stamps.angle),
        length=2 * np.abs(normal_y) * half + np.abs(lean_x),
        width=2 * np.abs(normal_x) * half + np.abs(lean_y),
    )
    facing = np.maximum(normal_x * canvas.sun.towards[0] + normal_y * canvas.sun.towards[1], 0)
    light = facing / np.float32(np.tan(canvas.sun.elevation))
    for cells in splat(canvas.view, boxes, margin=canvas.view.gsd):
        i = cells.stamp
        dx, dy = cells.u + lean_x[i] / 2, cells.v + lean_y[i] / 2
        nx, ny = normal_x[i], normal_y[i]
        up = (dx * nx + dy * ny) / (np.float32(tilt[0]) * nx + np.float32(tilt[1]) * ny)
        along = (dy - np.float32(tilt[1]) * up) * nx - (dx - np.float32(tilt[0]) * up) * ny
        canvas.put(cells, _wall(cells, stamps, up, along, half[i], light[i], base[i]), label=LABEL["building"],
                   thing=stamps.thing[i])  # fmt: skip


def _wall(cells: Cells, stamps: Stamps, up: Plane, along: Plane, half: Plane, light: Plane, base: Plane) -> Stroke:
    """Plaster with rows of windows."""
    s = stamps.take(cells.stamp)
    storey, bay = np.mod(up / np.float32(_STOREY), 1), np.mod(along / (2.2 + 2 * s.key), 1)
    window = (storey > 0.3) & (storey < 0.75) & (bay > 0.25) & (bay < 0.25 + 0.2 + 0.5 * s.key) & (s.height > 4)
    plaster = np.float32(0.16) + np.float32(0.3) * np.mod(s.key * 7, 1)
    tone = plaster * np.where(window, np.float32(0.4), np.float32(1.0))
    tint = np.float32(0.06) * (np.mod(s.key * 13, 1) - np.float32(0.3))
    colour = np.stack([tone + tint * tone, tone, tone - tint * tone], axis=1)
    inside = (up >= 0) & (up <= s.height) & (np.abs(along) <= half)
    return Stroke(
        cover=inside.astype(np.float32),
        colour=colour.astype(np.float32),
        height=base + np.clip(up, 0, s.height),
        shade=light.astype(np.float32),
    )
