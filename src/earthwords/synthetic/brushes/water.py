"""Colours the water of a scene: shallow and deep, waves, glitter, surf and wet sand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.synthetic.brushes.canvas import Canvas, splat
from earthwords.synthetic.conditions import ImagingConditions
from earthwords.synthetic.materials import ground_colours
from earthwords.synthetic.noise import Plane, resize
from earthwords.synthetic.plan import Plan, Stamps
from earthwords.synthetic.scene import LABEL


def shore_distance(water: NDArray[np.bool_], gsd: float) -> Plane:
    """Metres to the shore, positive on water, negative on land; `(row, col)`, measured about every metre."""
    step = max(1, round(1.5 / gsd))
    small = water[step // 2 :: step, step // 2 :: step]
    if small.all() or not small.any():
        return np.full(water.shape, 1e3 if water.all() else -1e3, dtype=np.float32)
    inside = ndimage.distance_transform_edt(small)
    outside = ndimage.distance_transform_edt(~small)
    metres = (inside - outside).astype(np.float32) * np.float32(step * gsd)
    return resize(metres, *water.shape)


def paint_water(canvas: Canvas, plan: Plan, conditions: ImagingConditions) -> None:
    """Recolour all pixels labelled water, and the first metres of sand beside a sea."""
    water = canvas.labels == LABEL["water"]
    if not water.any():
        return
    shore = shore_distance(water, canvas.view.gsd)
    at = np.flatnonzero(water)
    distance = shore.reshape(-1)[at]
    deep, shallow = ground_colours(conditions.region, conditions.season, name="water", variant=plan.water_variant)
    macro, meso = (getattr(canvas.patches, b).reshape(-1)[at] for b in ("macro", "meso"))
    reach = np.float32(plan.shelf) * np.exp(np.float32(0.3) * macro)
    share = np.exp(-np.maximum(distance, 0) / reach)
    colour = deep + (shallow - deep) * share[:, None]
    colour *= (1 + np.float32(0.06) * macro + np.float32(0.03) * meso)[:, None]
    colour *= (1 + _waves(canvas, plan, at))[:, None]
    if plan.sea:
        foam = _surf(canvas, at, distance)
        colour += (np.float32(0.75) - colour) * foam[:, None]
    canvas.rgb.reshape(-1, 3)[at] = np.maximum(colour, 0.001)
    _wet_land(canvas, plan, shore)


def _waves(canvas: Canvas, plan: Plan, at: NDArray[np.int64]) -> Plane:
    """Relative brightness of ripples or swell."""
    view = canvas.view
    row, col = np.divmod(at, view.width)
    x, y = (col * view.gsd).astype(np.float32), (row * view.gsd).astype(np.float32)
    bend = canvas.noise.meso.reshape(-1)[at]
    total = np.zeros(len(at), dtype=np.float32)
    rng = np.random.default_rng([plan.wave_seed, 3])
    for wavelength, strength in ((2.2, 0.35), (5.0, 0.5), (13.0, 0.7 if plan.sea else 0.2)):
        visible = np.clip(1.4 - 2.8 * view.gsd / wavelength, 0, 1)
        turn = rng.normal(plan.wind, 0.25)
        dx, dy = np.float32(np.cos(turn) / wavelength), np.float32(np.sin(turn) / wavelength)
        wave = np.sin(np.float32(6.283) * (x * dx + y * dy) + np.float32(1.6) * bend)
        total += np.float32(strength * visible) * wave * (0.6 + np.float32(0.4) * canvas.patches.micro.reshape(-1)[at])
    grain = canvas.noise.grain.reshape(-1)[at]
    glitter = np.maximum(grain - np.float32(1.45), 0) * np.float32(plan.glitter * 8)
    return total * np.float32(plan.swell) + np.float32(0.05) * grain * np.float32(plan.swell * 4) + glitter


def _surf(canvas: Canvas, at: NDArray[np.int64], distance: Plane) -> Plane:
    """Foam 0..1: broken lines parallel to the beach."""
    micro = canvas.patches.micro.reshape(-1)[at]
    meso = canvas.patches.meso.reshape(-1)[at]
    foam = np.zeros(len(at), dtype=np.float32)
    for metres, width, strength in ((1.5, 2.0, 0.9), (9.0, 1.8, 0.6), (21.0, 2.0, 0.4)):
        line = np.exp(-np.square((distance - metres - 2.5 * meso) / width))
        foam += np.float32(strength) * line * np.clip(0.45 + 0.5 * micro + 0.35 * meso, 0, 1)
    return np.clip(foam, 0, 1).astype(np.float32)


def paint_wakes(canvas: Canvas, plan: Plan) -> None:
    """White water behind moving ships that are there: a narrow tail and two arms."""
    ships = [t.thing for t in plan.stamps.get("ship", [])]
    tables = plan.stamps.get("wake")
    if not tables or not ships:
        return
    stamps = Stamps.join(tables)
    stamps = stamps.take(np.isin(stamps.thing, np.concatenate(ships)))
    rgb = canvas.rgb.reshape(-1, 3)
    for cells in splat(canvas.view, stamps):
        length, width = stamps.length[cells.stamp], stamps.width[cells.stamp]
        behind = np.clip(0.5 - cells.u / length, 0, 1)
        arm = np.abs(np.abs(cells.v) - behind * width / 2)
        tail = np.exp(-np.square(cells.v / (width * 0.09))) * (1 - behind) ** 1.5
        arms = np.exp(-np.square(arm / (width * 0.04 + 0.4))) * (1 - behind) ** 2 * np.float32(0.5)
        foam = np.clip((tail + arms) * (0.8 + 0.35 * canvas.patches.micro.reshape(-1)[cells.pixel]), 0, 0.9)
        foam *= (np.abs(cells.u) < length / 2) & (canvas.labels.reshape(-1)[cells.pixel] == LABEL["water"])
        old = rgb[cells.pixel]
        rgb[cells.pixel] = old + (np.float32(0.6) - old) * foam.astype(np.float32)[:, None]


def _wet_land(canvas: Canvas, plan: Plan, shore: Plane) -> None:
    """Darken open ground within a few metres of the water."""
    reach = 6.0 if plan.sea else 2.0
    near = (shore < 0) & (shore > -reach) & (canvas.labels == LABEL["bare land"])
    wet = 1 - np.float32(0.4) * (1 + shore[near] / np.float32(reach))
    canvas.rgb[near] *= wet[:, None]
