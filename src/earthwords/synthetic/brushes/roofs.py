"""Roofs: flat, gabled, hipped, the ribbed roofs of halls, and the boxes that stand on them."""

from __future__ import annotations

import numpy as np

from earthwords.synthetic.brushes.brush import BrushInput, Stroke, blended, box_distance, tinted
from earthwords.synthetic.brushes.canvas import cover
from earthwords.synthetic.noise import Plane

FLAT, GABLE, HIP, HALL, BOX, ROUND, SHEET, LEAN_TO, THATCH = range(9)
"""Values of `Stamps.style` for roofs; SHEET is a low gable and LEAN_TO a slope of corrugated metal."""


def roof(touch: BrushInput) -> Stroke:
    """All forms of roofs; `height` is that of the eaves."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    to_end, to_side = s.length / 2 - np.abs(u), s.width / 2 - np.abs(v)
    inside = np.minimum(to_end, to_side)
    inside = np.where(s.style == ROUND, _round_inside(u, v, s.length, s.width), inside)
    rise, gu, gv = _form(touch, to_end, to_side)
    colour = tinted(s.colour, _texture(touch, inside))
    if (s.style >= SHEET).any():
        colour = _covering(touch, colour)
        frayed = np.float32(0.25) * np.maximum(touch.noise("micro") + np.float32(0.8), 0)
        inside = np.where(s.style == THATCH, inside - frayed, inside)
    return Stroke(
        cover=cover(-inside, touch.gsd),
        colour=colour,
        height=s.base + s.height + rise,
        shade=touch.shade(gu, gv),
    )


def _round_inside(u: Plane, v: Plane, length: Plane, width: Plane) -> Plane:
    """Metres inside an ellipse, about."""
    return (1 - np.hypot(2 * u / length, 2 * v / width)) * np.minimum(length, width) / 2


def _form(touch: BrushInput, to_end: Plane, to_side: Plane) -> tuple[Plane, Plane, Plane]:
    """Height above the eaves and its gradient along and across."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    pitch = np.float32(0.28) + np.float32(0.35) * s.key
    bay = s.width / np.maximum(np.rint(s.width / (14 + 12 * s.key)), 1)
    in_bay = np.mod(v + s.width / 2, bay) - bay / 2
    low = np.float32(0.12)
    hip_end = ((s.style == HIP) | (s.style == THATCH)) & (to_end < to_side)
    gable = (s.style == GABLE) | ((s.style == HIP) | (s.style == THATCH)) & ~hip_end
    sheet, lean_to = s.style == SHEET, s.style == LEAN_TO
    fall = np.float32(0.10) + np.float32(0.22) * s.key
    hall = s.style == HALL
    rim = (s.style == FLAT) & (np.minimum(to_end, to_side) < 0.45)
    rise = np.select(
        [hip_end, gable, hall, rim, sheet, lean_to],
        [
            pitch * to_end,
            pitch * to_side,
            low * (bay / 2 - np.abs(in_bay)),
            np.float32(0.8),
            fall * to_side,
            np.float32(0.12) * (v + s.width / 2),
        ],
        default=np.float32(0.0),
    )
    gu = np.where(hip_end, -pitch * np.sign(u), np.float32(0.0))
    gv = np.where(gable, -pitch * np.sign(v), np.where(hall, -low * np.sign(in_bay), np.float32(0.0)))
    gv = np.where(sheet, -fall * np.sign(v), np.where(lean_to, np.float32(0.12), gv))
    return rise.astype(np.float32), gu.astype(np.float32), gv.astype(np.float32)


def _covering(touch: BrushInput, colour: Plane) -> Plane:
    """`(cell, 3)`: sheets of metal that differ and rust, or straw."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    metal, straw = (s.style == SHEET) | (s.style == LEAN_TO), s.style == THATCH
    column, row = np.floor(u / np.float32(0.9)), np.floor(v / np.float32(2.4))
    draw = np.sin(column * np.float32(12.9898) + row * np.float32(78.233) + s.key * np.float32(311.7)) * 437.5
    draw = draw - np.floor(draw)
    visible = np.float32(np.clip(1.5 - touch.gsd / 0.9, 0.15, 1))
    ribs = np.float32(0.10 * max(0.0, 1 - touch.gsd / 0.25)) * np.sin(u * np.float32(6.2832 / 0.3))
    seam = (np.abs(np.mod(v, np.float32(2.4)) - 1.2) < 0.08) & (touch.gsd < 0.4)
    tone = 1 + visible * np.float32(0.22) * (draw - np.float32(0.5)) + ribs - np.float32(0.12) * seam
    straws = 1 + np.float32(0.12) * touch.noise("micro") + np.float32(0.16) * touch.noise("grain")
    tone = np.where(metal, tone, np.where(straw, straws, np.float32(1.0)))
    age = np.mod(s.key * np.float32(7.7), 1)
    stain = np.float32(0.30) * touch.noise("micro") + np.float32(0.35) * touch.noise("meso")
    rust = np.clip((age - np.float32(0.62)) * 2 + stain * np.float32(0.6) + (draw - np.float32(0.75)), 0, 0.75)
    return blended(tinted(colour, tone.astype(np.float32)), (0.15, 0.075, 0.045), np.where(metal, rust, 0))


def _texture(touch: BrushInput, inside: Plane) -> Plane:
    """Brightness factor: stains, tile rows, ribs, seams, a bright rim on flat roofs."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    tone = 1 + np.float32(0.05) * touch.noise("micro") + np.float32(0.05) * touch.noise("grain")
    pitched = (s.style == GABLE) | (s.style == HIP)
    flat = s.style == FLAT
    stain = np.float32(0.10) * touch.noise("meso") + np.float32(0.05) * touch.noise("micro")
    tone = tone + np.where(flat, stain, np.float32(0.4) * stain)
    tone *= np.where(pitched & (np.abs(v) < 0.25), np.float32(1.12), np.float32(1.0))
    tone *= np.where(pitched & (inside < 0.35), np.float32(0.82), np.float32(1.0))
    rim = flat & (inside < 0.45)
    tone *= np.where(rim, np.float32(1.15), np.float32(1.0))
    seam = flat & (np.mod(u + 60 * s.key, 7 + 9 * s.key) < 0.5) & (s.key > 0.4)
    tone *= np.where(seam, np.float32(0.92), np.float32(1.0))
    ribs = np.float32(0.08 / max(1.0, touch.gsd * 2)) * np.sin(u * np.float32(6.28 / 1.6))
    light = (np.mod(u + 30 * s.key, 11 + 9 * s.key) < 1.1) & (np.mod(s.key * 17, 1) > 0.5)
    tone += np.where(s.style == HALL, ribs + np.float32(0.22) * light, np.float32(0.0))
    return np.clip(tone, 0.3, 1.8).astype(np.float32)


def tank(touch: BrushInput) -> Stroke:
    """A cylinder with a slightly conical lid, a rim and a stair."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    r, radius = np.hypot(u, v), s.length / 2
    slope = np.where(s.key < 0.5, np.float32(0.12), np.float32(-0.03))
    safe = np.maximum(r, np.float32(0.1))
    tone = 1 + np.float32(0.04) * touch.noise("meso") + np.float32(0.03) * touch.noise("grain")
    tone *= np.where(np.abs(r - radius + 0.5) < 0.4, np.float32(0.85), np.float32(1.0))
    plates = np.abs(np.mod(np.arctan2(v, u) * np.float32(10 / np.pi), 1)) < 0.06
    tone *= np.where(plates & (r < radius * 0.9), np.float32(0.94), np.float32(1.0))
    floating = (s.key > 0.7) & (r < radius - 0.8)
    return Stroke(
        cover=cover(r - radius, touch.gsd),
        colour=tinted(s.colour, tone * np.where(floating, np.float32(0.8), np.float32(1.0))),
        height=s.height - np.where(floating, np.float32(2.5), np.float32(0.0)),
        shade=touch.shade(-slope * u / safe, -slope * v / safe),
    )


def greenhouse(touch: BrushInput) -> Stroke:
    """Long tunnels of film, side by side."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    bay = np.float32(8.0)
    in_bay = np.mod(v + s.width / 2, bay) / bay * 2 - 1
    tone = 1 + np.float32(0.08) * touch.noise("micro") + np.float32(0.1) * touch.noise("meso")
    tone *= np.where(np.abs(in_bay) > 0.85, np.float32(0.7), np.float32(1.0))
    return Stroke(
        cover=cover(box_distance(u, v, s.length / 2, s.width / 2), touch.gsd),
        colour=tinted(s.colour, np.clip(tone, 0.4, 1.6).astype(np.float32)),
        height=s.height * (1 - np.float32(0.3) * np.square(in_bay)),
        shade=touch.shade(np.zeros_like(u), -np.float32(0.5) * in_bay),
    )


def stand(touch: BrushInput) -> Stroke:
    """The ring of stands of a stadium; `style` is the ring's width in metres."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    a, b = s.length / 2, s.width / 2
    power = np.float32(2.6)
    ring = np.power(np.abs(u / a) ** power + np.abs(v / b) ** power, 1 / power)
    inner_a, inner_b = a - s.style, b - s.style
    hole = np.power(np.abs(u / inner_a) ** power + np.abs(v / inner_b) ** power, 1 / power)
    distance = np.maximum((ring - 1) * b, (1 - hole) * inner_b)
    phi = np.arctan2(v / b, u / a)
    ribs = np.abs(np.mod(phi * np.float32(20 / np.pi), 1) - 0.5) < 0.04
    depth = np.clip(-(1 - hole) * inner_b / s.style, 0, 1)
    seats = (s.key > 0.5) & (depth < 0.55)
    tone = np.where(ribs, np.float32(0.75), np.float32(1.0)) + np.float32(0.05) * touch.noise("micro")
    tone *= np.where(seats, np.float32(0.45) + np.float32(0.1) * np.sin(depth * 60), np.float32(1.0))
    safe = np.maximum(np.hypot(u, v), np.float32(1.0))
    slope = np.where(seats, np.float32(0.5), np.float32(0.12))
    return Stroke(
        cover=cover(distance, touch.gsd),
        colour=tinted(s.colour, np.clip(tone, 0.2, 1.6).astype(np.float32)),
        height=s.height * np.where(seats, np.float32(0.2) + depth, np.float32(1.0)),
        shade=touch.shade(slope * u / safe, slope * v / safe),
    )
