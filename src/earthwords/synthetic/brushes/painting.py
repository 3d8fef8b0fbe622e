"""Which brush draws a kind of stamp, what it is labelled as, and where it may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes import ground_features, plants, roofs, vehicles
from earthwords.synthetic.brushes.brush import BrushInput, Stroke
from earthwords.synthetic.brushes.canvas import Canvas, splat
from earthwords.synthetic.brushes.walls import LEANING, leaned, paint_walls
from earthwords.synthetic.conditions import ImagingConditions
from earthwords.synthetic.plan import Plan, Stamps
from earthwords.synthetic.scene import LABEL, NONE


@dataclass(frozen=True, kw_only=True)
class Painter:
    """One kind of stamp."""

    label: int
    """`NONE`: what lies below keeps its label."""
    stands_on: tuple[int, ...]
    """Labels of ground it may be put on; stamps elsewhere are left out."""
    brush: Callable[[BrushInput], Stroke] | None
    """None: plants, whose brush also wants the day's colours."""
    reach: float = 0.45
    """Where its ground is tested, as a share of its length and width from the middle."""


_IN_SIGHT = 3
"""Of nine points of a thing, so many must be in the picture, or it is left out: nobody could tell
what the corner of a roof belongs to."""


def _on(names: str) -> tuple[int, ...]:
    return tuple(LABEL[name] for name in names.split(", "))


_LAND = "grass, bare land, cropland, pavement"
PAINTERS: dict[str, Painter] = {
    "oval": Painter(label=LABEL["sports field"], stands_on=_on(_LAND), brush=ground_features.oval),
    "diamond": Painter(label=LABEL["sports field"], stands_on=_on(_LAND), brush=ground_features.diamond),
    "pitch": Painter(label=LABEL["sports field"], stands_on=_on(_LAND + ", sports field"), brush=ground_features.pitch),
    "court": Painter(label=LABEL["tennis court"], stands_on=_on(_LAND), brush=ground_features.court),
    "pool": Painter(
        label=LABEL["swimming pool"], stands_on=_on("grass, bare land, pavement"), brush=ground_features.pool
    ),
    "greenhouse": Painter(label=LABEL["greenhouse"], stands_on=_on(_LAND), brush=roofs.greenhouse),
    "roof": Painter(label=LABEL["building"], stands_on=_on(_LAND), brush=roofs.roof, reach=0.5),
    "stand": Painter(label=LABEL["building"], stands_on=_on(_LAND + ", sports field"), brush=roofs.stand),
    "tank": Painter(label=LABEL["storage tank"], stands_on=_on(_LAND), brush=roofs.tank),
    "panels": Painter(label=LABEL["solar panel"], stands_on=_on(_LAND + ", building"), brush=ground_features.panels),
    "clutter": Painter(label=NONE, stands_on=_on(_LAND), brush=vehicles.crate, reach=0.3),
    "container": Painter(label=LABEL["container"], stands_on=_on("pavement"), brush=vehicles.container),
    "ship": Painter(label=LABEL["ship"], stands_on=_on("water"), brush=vehicles.ship, reach=0.5),
    "plane": Painter(label=LABEL["plane"], stands_on=_on("pavement, runway, grass"), brush=vehicles.plane),
    "truck": Painter(label=LABEL["truck"], stands_on=_on("road, pavement, bare land"), brush=vehicles.truck),
    "car": Painter(label=LABEL["car"], stands_on=_on("road, pavement, bare land"), brush=vehicles.car),
    "wood": Painter(label=LABEL["trees"], stands_on=_on("trees"), brush=None, reach=0.2),
    "plant": Painter(label=LABEL["trees"], stands_on=_on(_LAND + ", trees"), brush=None, reach=0.2),
}
"""In painting order: later kinds may hide parts of earlier ones where they are higher."""


def paint_stamps(canvas: Canvas, plan: Plan, conditions: ImagingConditions) -> None:
    """Draw the stamps that stand where they may, and take the others out of the plan."""
    for kind, painter in PAINTERS.items():
        tables = plan.stamps.get(kind)
        if not tables:
            continue
        stamps = _near(Stamps.join(tables), canvas, lean=float(np.hypot(*plan.tilt)))
        stamps = stamps.take(may_stand(canvas, stamps, painter, extent=plan.extent))
        plan.stamps[kind] = [stamps]
        if len(stamps) == 0:
            continue
        if any(plan.tilt) and kind in LEANING:
            if kind == "roof":
                paint_walls(canvas, stamps, plan.tilt)
            stamps = leaned(stamps, plan.tilt, share=LEANING[kind])
        _paint(canvas, stamps, painter, conditions)


def _near(stamps: Stamps, canvas: Canvas, *, lean: float) -> Stamps:
    """The stamps that can touch the view, if their tops move by `lean` metres per metre of height."""
    view = canvas.view
    width, height = view.extent
    reach = (stamps.length + stamps.width) / 2 + view.gsd + (stamps.base + stamps.height) * np.float32(lean)
    dx = np.abs(stamps.x - (view.x0 + width / 2)) - width / 2
    dy = np.abs(stamps.y - (view.y0 + height / 2)) - height / 2
    touching = (dx < reach) & (dy < reach)
    things = np.unique(stamps.thing[touching & (stamps.thing > 0)])
    return stamps.take(touching | np.isin(stamps.thing, things))


def may_stand(canvas: Canvas, stamps: Stamps, painter: Painter, *, extent: tuple[float, float]) -> NDArray[np.bool_]:
    """True for stamps whose ground (middle, corners, mid-sides) has an allowed label.

    A thing of several parts stands or falls as a whole; parts on top of others are not tested.
    Things that lie mostly beyond the scene's `extent` are left out as well.
    """
    allowed = np.zeros(256, dtype=bool)
    allowed[[*painter.stands_on, NONE]] = True
    good = np.ones(len(stamps), dtype=bool)
    in_view = np.zeros(len(stamps), dtype=np.int64)
    cos, sin = np.cos(stamps.angle), np.sin(stamps.angle)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            u, v = i * painter.reach * stamps.length, j * painter.reach * stamps.width
            x, y = stamps.x + u * cos - v * sin, stamps.y + u * sin + v * cos
            found = canvas.labels_at(x, y)
            in_view += (x > 0) & (x < extent[0]) & (y > 0) & (y < extent[1])
            good &= allowed[found] & ((stamps.base == 0) | np.isin(found, (LABEL["building"], NONE)))
    if painter.label == LABEL["building"]:
        good |= stamps.base > 0
    if painter.label != NONE and painter.brush is not None:
        good &= (in_view >= _IN_SIGHT) | (stamps.base > 0)
    fallen = np.unique(stamps.thing[~good & (stamps.thing > 0)])
    return good & ~np.isin(stamps.thing, fallen)


def _paint(canvas: Canvas, stamps: Stamps, painter: Painter, conditions: ImagingConditions) -> None:
    leaves = None
    if painter.brush is None:
        leaves = plants.leaf_colours(stamps, conditions, canvas.sample(canvas.patches.macro, stamps.x, stamps.y))
    for cells in splat(canvas.view, stamps, margin=canvas.view.gsd / 2):
        touch = BrushInput.of(cells, stamps, canvas)
        if leaves is not None:
            stroke = plants.tree(
                touch, leaves[0][cells.stamp], leaves[1][cells.stamp],
                branches=conditions.season.foliage != "",
            )  # fmt: skip
        else:
            assert painter.brush is not None
            stroke = painter.brush(touch)
        canvas.put(cells, stroke, label=painter.label, thing=touch.stamps.thing)
