"""Cars, trucks, containers, ships and planes."""

from __future__ import annotations

import numpy as np

from earthwords.synthetic.brushes.brush import BrushInput, Stroke, blended, box_distance, capsule_distance, tinted
from earthwords.synthetic.brushes.canvas import cover
from earthwords.synthetic.noise import Plane


def car(touch: BrushInput) -> Stroke:
    """A rounded box with dark windows in front of and behind the roof."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    a, b = s.length / 2, s.width / 2
    rounded = box_distance(u, v, a - np.float32(0.4), b - np.float32(0.4))
    distance = np.minimum(rounded, 0) + np.hypot(
        np.maximum(np.abs(u) - a + np.float32(0.4), 0), np.maximum(np.abs(v) - b + np.float32(0.4), 0)
    ) - np.float32(0.4)  # fmt: skip
    front = np.abs(u - a * np.float32(0.28)) < a * np.float32(0.13)
    back = np.abs(u + a * np.float32(0.55)) < a * np.float32(0.11)
    glass = ((front | back) & (np.abs(v) < b * 0.85)).astype(np.float32) * np.float32(0.75)
    roof = (u < a * 0.16) & (u > -a * 0.45)
    return Stroke(
        cover=cover(distance, touch.gsd),
        colour=blended(s.colour, (0.02, 0.025, 0.03), glass),
        height=s.height * np.where(roof, np.float32(1.0), np.float32(0.65)),
        shade=np.ones_like(u),
    )


def truck(touch: BrushInput) -> Stroke:
    """A trailer with a cab."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    a, b = s.length / 2, s.width / 2
    gap = np.abs(u - a * np.float32(0.62)) < 0.3
    cab = u > a * 0.62
    tone = np.where(gap, np.float32(0.15), np.where(cab, np.float32(0.6), np.float32(1.0)))
    return Stroke(
        cover=cover(box_distance(u, v, a, b), touch.gsd),
        colour=tinted(s.colour, tone),
        height=s.height * np.where(cab, np.float32(0.75), np.float32(1.0)),
        shade=np.ones_like(u),
    )


def crate(touch: BrushInput) -> Stroke:
    """A plain box: walls, bins, sheds too small to name."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    tone = 1 + np.float32(0.08) * touch.noise("micro") + np.float32(0.05) * touch.noise("grain")
    return Stroke(
        cover=cover(box_distance(u, v, s.length / 2, s.width / 2), touch.gsd),
        colour=tinted(s.colour, tone),
        height=s.height,
        shade=np.ones_like(u),
    )


def container(touch: BrushInput) -> Stroke:
    """A ribbed steel box."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    tone = 1 + np.float32(0.06) * np.sin(u * np.float32(12.0)) + np.float32(0.06) * touch.noise("micro")
    edge = np.maximum(np.abs(u) - s.length / 2, np.abs(v) - s.width / 2) > -0.2
    return Stroke(
        cover=cover(box_distance(u, v, s.length / 2, s.width / 2), touch.gsd),
        colour=tinted(s.colour, tone * np.where(edge, np.float32(0.8), np.float32(1.0))),
        height=s.height,
        shade=np.ones_like(u),
    )


def ship(touch: BrushInput) -> Stroke:
    """A hull with a pointed bow (at +u), a deck and a bridge at the stern; small ones are open boats."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    a, b = s.length / 2, s.width / 2
    bow = np.clip((u / a - np.float32(0.45)) / np.float32(0.55), 0, 1)
    half = b * (1 - np.power(bow, np.float32(2.2))) * np.where(u < -a * 0.9, np.float32(0.88), np.float32(1.0))
    distance = np.maximum(np.abs(v) - half, np.abs(u) - a)
    bridge = (np.abs(u + a * np.float32(0.68)) < a * 0.13) & (np.abs(v) < b * 0.8)
    cabin = (np.abs(u + a * np.float32(0.05)) < a * 0.28) & (np.abs(v) < b * 0.5)
    large = s.length > 40
    house = np.where(large, bridge, cabin)
    rail = distance > -np.maximum(b * np.float32(0.16), np.float32(0.25))
    hatch = large & ~bridge & (np.abs(v) < b * 0.62) & (np.abs(u - a * 0.1) < a * 0.55)
    hatch &= np.mod(u + a, a * np.float32(0.24)) > a * 0.035
    tone = np.select([rail, hatch], [np.float32(1.35), np.float32(0.75)], default=np.float32(1.0))
    tone = tone + np.float32(0.06) * touch.noise("micro")
    deck = tinted(s.colour, tone.astype(np.float32))
    return Stroke(
        cover=cover(distance, touch.gsd),
        colour=blended(deck, (0.72, 0.72, 0.70), house.astype(np.float32) * np.float32(0.9)),
        height=s.height * np.where(house, np.float32(1.0), np.float32(0.45)),
        shade=np.ones_like(u),
    )


def plane(touch: BrushInput) -> Stroke:
    """Fuselage, swept wings, tail and engines; the nose points to +u. `length` is nose to tail."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    a, w = s.length / 2, np.abs(v)
    zero = np.zeros_like(u)
    body_radius = a * np.float32(0.105) * np.clip((a - np.abs(u)) / (a * np.float32(0.25)), 0.25, 1)
    body = np.maximum(w - body_radius, np.abs(u) - a)
    wing = _swept(u, w, root=a * 0.28, tip=-a * 0.22, span=s.width / 2, chord=a * 0.36, end=a * 0.10)
    tail = _swept(u, w, root=-a * 0.72, tip=-a * 0.95, span=a * 0.36, chord=a * 0.22, end=a * 0.09)
    engine = capsule_distance(u, w, (a * 0.30, s.width * 0.16), (a * 0.06, s.width * 0.16), a * np.float32(0.05))
    fin = capsule_distance(u, w, (-a * 0.70, zero), (-a * 0.97, zero), a * np.float32(0.022))
    distance = np.minimum.reduce([body, wing, tail, engine])
    on_wing = (body > 0) & (engine > 0)
    tone = np.where(on_wing, np.float32(0.82), np.float32(1.0)) * np.where(engine < 0, np.float32(0.6), np.float32(1.0))
    round_body = np.where(body < 0, -np.sign(v) * np.square(w / np.maximum(body_radius, 0.1)), zero)
    return Stroke(
        cover=cover(distance, touch.gsd),
        colour=blended(tinted(s.colour, tone), (0.10, 0.14, 0.35), (fin < 0) * np.float32(0.7)),
        height=s.height * np.where(body < 0, np.float32(1.0), np.float32(0.6)),
        shade=touch.shade(zero, round_body * np.float32(0.6)),
    )


def _swept(u: Plane, w: Plane, *, root: Plane, tip: Plane, span: Plane, chord: Plane, end: Plane) -> Plane:
    """Signed distance to a pair of wings: leading edge from `root` to `tip`, chord shrinking to `end`."""
    share = np.clip(w / span, 0, 1)
    lead = root + (tip - root) * share
    return np.maximum(np.maximum(u - lead, lead - (chord + (end - chord) * share) - u), w - span)
