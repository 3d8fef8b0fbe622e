"""Muddy water over finished ground: what is lower than it is hidden, roofs and crowns stand out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes.canvas import Canvas, fill
from earthwords.synthetic.brushes.water import shore_distance
from earthwords.synthetic.materials import linear
from earthwords.synthetic.noise import Plane
from earthwords.synthetic.plan import Flood
from earthwords.synthetic.scene import LABEL, NONE

_MUDDY = (
    "9a8468 85714f", "8a7d66 766a55", "a08c70 8c795c", "7d7560 6d6551", "b09a7c 9d876a", "76705f 676253",
    "8f7558 7a6248", "858276 74716a",
)  # fmt: skip
"""Pairs `"shallow deep"`: brown, ochre and grey-brown."""
_ROADS = (LABEL["road"], LABEL["railway"], LABEL["runway"])
_BELOW_FENCES = tuple(LABEL[name] for name in ("grass", "bare land", "cropland", "pavement"))
"""Fences and walls have the label of the ground they stand on."""
_LOW = tuple(LABEL[name] for name in ("car", "truck"))


def paint_flood(canvas: Canvas, flood: Flood) -> None:
    """Flood the canvas, in place: colours, labels (water), things, heights.

    Rivers and lakes carry the same mud. A car that is mostly under water is not seen at all.
    """
    inside = fill(canvas.view, [flood.outline], [1]) == 1
    lake = canvas.labels == LABEL["water"]
    if not inside.any() and not lake.any():
        return
    depth = _depth(canvas, flood, inside)
    ground = np.isin(canvas.labels, _ROADS) * np.float32(flood.embankment)
    wet = (depth > np.maximum(canvas.height, ground)) & inside & (canvas.labels != NONE)
    wet = _whole_cars(canvas, wet) | lake
    shallow, deep = (linear(c) for c in _MUDDY[int(flood.variant * len(_MUDDY) * 0.999)].split())
    at = np.flatnonzero(wet)
    share = np.exp(-np.maximum(depth, 0).reshape(-1)[at] / np.float32(0.8))
    share[lake.reshape(-1)[at]] *= 0.3
    macro, meso, grain = (getattr(canvas.noise, b).reshape(-1)[at] for b in ("macro", "meso", "grain"))
    colour = deep + (shallow - deep) * np.clip(share + np.float32(0.15) * macro, 0, 1)[:, None]
    colour *= (1 + np.float32(0.05) * macro + np.float32(0.03) * meso + np.float32(0.015) * grain)[:, None]
    rgb = canvas.rgb.reshape(-1, 3)
    clear = np.clip(share - np.float32(0.55), 0, 1) * np.float32(0.9)
    rgb[at] = colour + (rgb[at] - colour) * clear[:, None]
    canvas.labels[wet], canvas.things[wet] = LABEL["water"], 0
    canvas.height[wet], canvas.shade[wet] = 0.0, 1.0
    fences = inside & (depth > 0) & (canvas.height > depth) & np.isin(canvas.labels, _BELOW_FENCES)
    canvas.labels[fences] = LABEL["water"]


def _depth(canvas: Canvas, flood: Flood, inside: NDArray[np.bool_]) -> Plane:
    """Metres of water over flat ground, `(row, col)`; dry knolls are negative."""
    shore = np.minimum(shore_distance(inside, canvas.view.gsd), 60)
    swell = np.float32(0.35) * canvas.patches.macro + np.float32(0.10) * canvas.patches.meso
    slope = np.minimum(shore * np.float32(0.06), flood.depth) + np.float32(0.25)
    return np.minimum(slope + swell * np.float32(flood.depth * 0.6), flood.depth)


def _whole_cars(canvas: Canvas, wet: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """`wet` with vehicles either wholly in it or wholly out of it."""
    vehicles = np.isin(canvas.labels, _LOW)
    things = canvas.things[vehicles]
    if len(things) == 0:
        return wet
    total, drowned = np.bincount(things), np.bincount(things, wet[vehicles])
    wet = wet.copy()
    wet[vehicles] = (drowned > 0.5 * total)[things]
    return wet
