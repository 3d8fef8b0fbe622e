"""Lays snow on open ground and on roofs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes.canvas import Canvas
from earthwords.synthetic.conditions import ImagingConditions
from earthwords.synthetic.materials import linear
from earthwords.synthetic.plan import Plan, Stamps
from earthwords.synthetic.scene import LABEL

_OPEN = tuple(LABEL[name] for name in ("grass", "bare land", "cropland"))
_COVERED = (*_OPEN, LABEL["trees"])
"""Ground that snow covers; under trees it keeps their label."""
_CLEARED = tuple(LABEL[name] for name in ("road", "pavement", "railway", "runway"))
_SNOW = (0.78, 0.80, 0.84)


def lay_snow(canvas: Canvas, conditions: ImagingConditions) -> NDArray[np.bool_]:
    """Whiten the ground, in place; returns `(row, col)` where more than half of it is white."""
    thick = np.float32(2.2 * conditions.season.snow - 0.6)
    patches = np.float32(0.35) * canvas.patches.meso + np.float32(0.25) * canvas.patches.micro
    share = np.clip(thick + patches + np.float32(0.2) * canvas.patches.macro, 0, 0.96)
    dusted = np.isin(canvas.labels, _CLEARED)
    share = np.where(dusted, np.clip(patches, 0, 0.5), share)
    share = np.where(dusted | np.isin(canvas.labels, _COVERED), share, 0).astype(np.float32)
    bright = 1 + np.float32(0.04) * canvas.noise.meso + np.float32(0.03) * canvas.noise.grain
    for band, level in enumerate(_SNOW):
        plane = canvas.rgb[:, :, band]
        plane += (np.float32(level) * bright - plane) * share
    return (share > 0.5) & np.isin(canvas.labels, _OPEN)


def relabel_snow(canvas: Canvas, white: NDArray[np.bool_]) -> None:
    """Open ground that is white and that nothing else was drawn on becomes snow."""
    canvas.labels[white & np.isin(canvas.labels, _OPEN)] = LABEL["snow"]


def snow_on_roofs(plan: Plan, conditions: ImagingConditions) -> None:
    """Whiten roofs by their thing's number, in place of the plan (a copy); some are warm and stay bare."""
    white = linear("e6e9ee")
    tables = []
    for table in plan.stamps.get("roof", []):
        warm = (table.thing * np.float32(0.618)) % 1.0
        share = np.clip(2 * conditions.season.snow - 0.5 - warm * np.float32(0.9), 0, 0.95).astype(np.float32)
        colour = table.colour + (white - table.colour) * share[:, None]
        tables.append(replace(table, red=colour[:, 0], green=colour[:, 1], blue=colour[:, 2]))
        for thing in np.unique(table.thing[share > 0.5]).tolist():
            plan.facts[thing] = plan.facts.get(thing, {}) | {"colour": "white"}
    if tables:
        plan.stamps["roof"] = [Stamps.join(tables)]
