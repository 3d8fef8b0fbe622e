"""From painted thing numbers to a list of visible objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from earthwords.synthetic.brushes.canvas import Canvas
from earthwords.synthetic.brushes.painting import PAINTERS
from earthwords.synthetic.brushes.walls import LEANING, Tilt
from earthwords.synthetic.plan import Plan, Stamps
from earthwords.synthetic.scene import SceneObject

SIZES: dict[str, tuple[float, float]] = {
    "roof": (90.0, 400.0),
    "ship": (60.0, 1000.0),
    "plane": (300.0, 1200.0),
    "tank": (200.0, 900.0),
    "pool": (30.0, 120.0),
}
"""Below the first number of square metres a thing is small, from the second on it is large."""


def collect_objects(canvas: Canvas, plan: Plan) -> tuple[NDArray[np.int32], tuple[SceneObject, ...]]:
    """`(row, col)` instance ids from 1 without gaps, and the objects that have at least a pixel."""
    present = np.unique(canvas.things)
    present = present[present > 0]
    rank = np.zeros(int(present.max(initial=0)) + 1, dtype=np.int32)
    rank[present] = np.arange(1, len(present) + 1)
    instances = rank[canvas.things]
    boxes = ndimage.find_objects(instances)
    main = thing_outlines(plan, present)
    objects = []
    for i, (thing, box) in enumerate(zip(present.tolist(), boxes, strict=True), start=1):
        kind, polygon, area = main[thing]
        pixels = canvas.view.pixels(polygon)[:, ::-1]
        rows, cols = box
        objects.append(
            SceneObject(
                id=i,
                label=PAINTERS[kind].label,
                box=(rows.start, cols.start, rows.stop, cols.stop),
                polygon=pixels,
                attributes={**plan.facts.get(thing, {}), "size": _size(kind, area)},
            )
        )
    return instances, tuple(objects)


def _size(kind: str, area: float) -> str:
    small, large = SIZES.get(kind, (0.0, np.inf))
    return "small" if area < small else "large" if area >= large else "medium"


def thing_outlines(plan: Plan, wanted: NDArray[np.int32]) -> dict[int, tuple[str, NDArray[np.float64], float]]:
    """Thing -> kind, `(4, 2)` ground outline around all its parts, square metres of the parts on the ground."""
    found: dict[int, tuple[str, NDArray[np.float64], float]] = {}
    for kind, tables in plan.stamps.items():
        if kind not in PAINTERS or not tables:
            continue
        stamps = Stamps.join(tables)
        stamps = stamps.take(np.isin(stamps.thing, wanted) & (stamps.thing > 0))
        if len(stamps):
            for thing, (outline, area) in _outlines(stamps, lean=plan.tilt if kind in LEANING else (0.0, 0.0)).items():
                if thing not in found or area > found[thing][2]:
                    found[thing] = (kind, outline, area)
    return found


def _outlines(stamps: Stamps, *, lean: Tilt) -> dict[int, tuple[NDArray[np.float64], float]]:
    """Per thing: the rectangle around its parts, from foot to top, in the frame of its first part, and its area."""
    things, first, group = np.unique(stamps.thing, return_index=True, return_inverse=True)
    angle = stamps.angle[first][group]
    dx, dy = stamps.x - stamps.x[first][group], stamps.y - stamps.y[first][group]
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    turn = stamps.angle - angle
    half_u = (np.abs(np.cos(turn)) * stamps.length + np.abs(np.sin(turn)) * stamps.width) / 2
    half_v = (np.abs(np.sin(turn)) * stamps.length + np.abs(np.cos(turn)) * stamps.width) / 2
    low_u, high_u, low_v, high_v = (np.full(len(things), np.inf) * sign for sign in (1, -1, 1, -1))
    top = stamps.base + stamps.height
    lean_u = top * (lean[0] * np.cos(angle) + lean[1] * np.sin(angle))
    lean_v = top * (lean[1] * np.cos(angle) - lean[0] * np.sin(angle))
    np.minimum.at(low_u, group, u - half_u + np.minimum(lean_u, 0))
    np.maximum.at(high_u, group, u + half_u + np.maximum(lean_u, 0))
    np.minimum.at(low_v, group, v - half_v + np.minimum(lean_v, 0))
    np.maximum.at(high_v, group, v + half_v + np.maximum(lean_v, 0))
    area = np.bincount(group, stamps.length * stamps.width * (stamps.base == 0))
    cos, sin = np.cos(stamps.angle[first]), np.sin(stamps.angle[first])
    corner_u = np.stack([low_u, high_u, high_u, low_u], axis=1)
    corner_v = np.stack([low_v, low_v, high_v, high_v], axis=1)
    x = stamps.x[first][:, None] + corner_u * cos[:, None] - corner_v * sin[:, None]
    y = stamps.y[first][:, None] + corner_u * sin[:, None] + corner_v * cos[:, None]
    outlines = np.stack([x, y], axis=2).astype(np.float64)
    return {int(t): (outlines[i], float(area[i])) for i, t in enumerate(things)}
