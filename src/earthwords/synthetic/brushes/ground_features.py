"""Flat things on the ground: swimming pools, courts, sports fields and solar panels."""

from __future__ import annotations

import numpy as np

from earthwords.synthetic.brushes.brush import BrushInput, Stroke, blended, box_distance, tinted
from earthwords.synthetic.brushes.canvas import cover
from earthwords.synthetic.brushes.ribbons import line_cover


def pool(touch: BrushInput) -> Stroke:
    """Blue water with a pale rim; style 1 is a rounded pool."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    box = box_distance(u, v, s.length / 2, s.width / 2)
    oval = (np.hypot(2 * u / s.length, 2 * v / s.width) - 1) * s.width / 2
    distance = np.where(s.style == 1, oval, box)
    light = 1 + np.float32(0.08) * touch.noise("micro") + np.float32(0.15) * (u / s.length)
    rim = (distance > -0.4).astype(np.float32)
    return Stroke(
        cover=cover(distance, touch.gsd),
        colour=blended(tinted(s.colour, light), (0.55, 0.55, 0.5), rim * np.float32(0.6)),
        height=np.full_like(u, 0.02),
        shade=np.ones_like(u),
    )


def court(touch: BrushInput) -> Stroke:
    """A tennis court: playing field in the stamp's colour, surround, white lines."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    gsd = touch.gsd
    inner = (np.abs(u) < 11.9) & (np.abs(v) < 5.5)
    surround = s.colour[:, ::-1] * np.float32(0.5) + s.colour * np.float32(0.4)
    colour = np.where(inner[:, None], s.colour, surround)
    within = (np.abs(u) < 12.1) & (np.abs(v) < 5.7)
    lines = (
        np.maximum.reduce(
            [
                line_cover(np.abs(u) - np.float32(11.9), 0.12, gsd),
                line_cover(np.abs(v) - np.float32(5.5), 0.12, gsd),
                line_cover(np.abs(v) - np.float32(4.1), 0.12, gsd),
                line_cover(np.abs(u) - np.float32(6.4), 0.12, gsd) * (np.abs(v) < 4.2),
                line_cover(v, 0.12, gsd) * (np.abs(u) < 6.4),
                line_cover(u, 0.3, gsd) * np.float32(0.6),
            ]
        )
        * within
    )
    tone = 1 + np.float32(0.05) * touch.noise("meso") + np.float32(0.04) * touch.noise("grain")
    return Stroke(
        cover=cover(box_distance(u, v, s.length / 2, s.width / 2), gsd),
        colour=blended(tinted(colour, tone), (0.7, 0.7, 0.7), lines.astype(np.float32) * np.float32(0.85)),
        height=np.full_like(u, 0.02),
        shade=np.ones_like(u),
    )


def pitch(touch: BrushInput) -> Stroke:
    """A football field: mown stripes and white lines; style 1 is earth."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    gsd, a, b = touch.gsd, s.length / 2 - 2, s.width / 2 - 2
    stripes = np.where((np.mod(u / np.float32(5.5), 2) < 1) & (s.key > 0.4), np.float32(1.1), np.float32(0.95))
    worn = np.exp(-np.square((np.abs(u) - a + 4) / 7) - np.square(v / 6)) + 0.4 * np.exp(-np.square(np.hypot(u, v) / 9))
    tone = stripes + np.float32(0.08) * touch.noise("meso") + np.float32(0.06) * touch.noise("grain")
    box = np.maximum(a - np.float32(16.5) - np.abs(u), np.abs(v) - b * np.float32(0.59))
    lines = np.maximum.reduce(
        [
            line_cover(box_distance(u, v, a, b), 0.14, gsd),
            line_cover(u, 0.14, gsd) * (np.abs(v) < b),
            line_cover(np.hypot(u, v) - np.float32(9.15), 0.14, gsd),
            line_cover(box, 0.14, gsd) * (np.abs(u) < a),
        ]
    )
    colour = blended(tinted(s.colour, tone), (0.26, 0.19, 0.12), np.clip(worn * 0.5, 0, 0.6).astype(np.float32))
    return Stroke(
        cover=cover(box_distance(u, v, s.length / 2, s.width / 2), gsd),
        colour=blended(colour, (0.75, 0.75, 0.75), lines * np.float32(0.8)),
        height=np.full_like(u, 0.02),
        shade=np.ones_like(u),
    )


def panels(touch: BrushInput) -> Stroke:
    """A table of solar modules, slightly tilted, with pale frames."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    frame = np.maximum(
        line_cover(np.mod(u, np.float32(2.0)) - 1, 0.06, touch.gsd),
        line_cover(np.mod(v, np.float32(1.7)) - np.float32(0.85), 0.06, touch.gsd),
    )
    tone = 1 + np.float32(0.06) * touch.noise("meso") + np.float32(0.05) * touch.noise("grain")
    return Stroke(
        cover=cover(box_distance(u, v, s.length / 2, s.width / 2), touch.gsd),
        colour=blended(tinted(s.colour, tone), (0.5, 0.5, 0.55), frame * np.float32(0.5)),
        height=s.base + s.height,
        shade=np.full_like(u, 1.0),
    )


def oval(touch: BrushInput) -> Stroke:
    """A running track with lanes; what lies inside is drawn over it."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    radius = s.width / 2
    r = np.hypot(np.maximum(np.abs(u) - (s.length / 2 - radius), 0), v)
    lanes = line_cover(np.mod(r, np.float32(1.22)) - np.float32(0.61), 0.05, touch.gsd) * (r > radius - 9.8)
    tone = 1 + np.float32(0.05) * touch.noise("meso") + np.float32(0.04) * touch.noise("grain")
    field = r < radius - 9.8
    colour = np.where(field[:, None], np.array([0.07, 0.12, 0.05], dtype=np.float32), s.colour)
    return Stroke(
        cover=cover(r - radius, touch.gsd),
        colour=blended(tinted(colour, tone), (0.7, 0.7, 0.7), lanes * np.float32(0.6)),
        height=np.full_like(u, 0.01),
        shade=np.ones_like(u),
    )


def diamond(touch: BrushInput) -> Stroke:
    """A baseball field: a quarter disc of grass whose corner is at the stamp's -u end, with an earth infield."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    size = s.length
    x = (u + size / 2 + v) * np.float32(0.7071)
    y = (u + size / 2 - v) * np.float32(0.7071)
    r = np.hypot(x, y)
    distance = np.maximum.reduce([r - size * np.float32(0.98), -x - 4, -y - 4])
    skin = np.hypot(x - 18.4, y - 18.4) < 28
    infield = (x > 3) & (y > 3) & (x < 24) & (y < 24) & (np.hypot(x - 18.4, y - 18.4) > 3)
    warning = distance > -4
    earth = ((skin & ~infield) | (r < 5) | warning).astype(np.float32)
    foul = np.maximum(line_cover(x, 0.12, touch.gsd), line_cover(y, 0.12, touch.gsd)) * (r < size * 0.95)
    tone = 1 + np.float32(0.07) * touch.noise("meso") + np.float32(0.06) * touch.noise("grain")
    tone *= np.where(np.mod((x + y) / 9, 2) < 1, np.float32(1.06), np.float32(0.96))
    colour = blended(tinted(s.colour, tone), (0.42, 0.22, 0.11), earth * np.float32(0.9))
    return Stroke(
        cover=cover(distance, touch.gsd),
        colour=blended(colour, (0.75, 0.75, 0.75), foul * np.float32(0.7)),
        height=np.full_like(u, 0.02),
        shade=np.ones_like(u),
    )
