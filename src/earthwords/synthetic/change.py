"""Two scenes of the same ground on different days, with real changes between them and a mask of those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from earthwords.errors import UsageError, unknown
from earthwords.synthetic.brushes.canvas import fill
from earthwords.synthetic.conditions import draw_conditions
from earthwords.synthetic.noise import GroundView
from earthwords.synthetic.objects import thing_outlines
from earthwords.synthetic.plan import Area, Overlay, Plan, Stamps
from earthwords.synthetic.render import Landscape, checked, paint
from earthwords.synthetic.scene import CLASSES, LABEL, NONE, Change, RenderedScene
from earthwords.synthetic.themes import THEMES, plan_scene, usual_conditions
from earthwords.synthetic.zones.layout import Points, blob

_MARGIN = 4.0
"""Metres around a thing within which its coming or going may show."""
_CROWN = 14.0
"""The same around ground on which trees stand."""


class ScenePair(NamedTuple):
    """What `render_pair` returns."""

    before: RenderedScene
    after: RenderedScene
    mask: NDArray[np.uint8]
    """`(row, col)`, 1 exactly where the labels of the two scenes differ."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A planned change: what it is called and the ground it may touch."""

    kind: str
    outline: Points


@dataclass(kw_only=True)
class Editing:
    """Both plans while they are being edited."""

    before: Plan
    after: Plan
    view: GroundView
    labels: NDArray[np.uint8]
    """`(row, col)` of the scene with everything in it."""
    rng: np.random.Generator
    taken: list[Points] = field(default_factory=list)
    """Outlines of edits so far; later ones keep clear of them."""

    def take(self, outline: Points) -> bool:
        """Reserve the ground of an edit; False if another edit has some of it."""
        for other in self.taken:
            if ((outline.min(axis=0) < other.max(axis=0)) & (outline.max(axis=0) > other.min(axis=0))).all():
                return False
        self.taken.append(outline)
        return True


def render_pair(
    *,
    height: int,
    width: int,
    gsd: float = 0.5,
    theme: str | None = None,
    seed: int = 0,
    changes: tuple[str, ...] | None = None,
    amount: int = 3,
) -> ScenePair:
    """Draw the same ground twice: another season, sun and sensor, and about `amount` changes of each kind.

    `changes` are names of `CHANGES`; None: all but cars, as far as the scene has such things. Labels
    are equal wherever the mask is 0. Pixels differ everywhere, as they do between two real images.
    """
    view, theme = checked(height=height, width=width, gsd=gsd, theme=theme, seed=seed)
    if amount < 0:
        raise UsageError(f"The number of changes of a kind is 0 or more, got {amount}.")
    kinds = tuple(k for k in CHANGES if k != "cars") if changes is None else changes
    for kind in kinds:
        if kind not in CHANGES:
            raise unknown("change", kind, CHANGES)
    plan, region = plan_scene(view, theme=theme, seed=seed)
    special = tuple(name for name in usual_conditions(theme, seed=seed) if name != "snow")
    both = [
        draw_conditions(region=region, seed=seed, salt=THEMES.index(theme) + 1000 * k, special=special) for k in (0, 1)
    ]
    canvas = paint(plan, view, both[0], seed=seed)
    editing = Editing(
        before=plan.copy(), after=plan.copy(), view=view, labels=canvas.labels,
        rng=np.random.default_rng([seed, 0xC4]),
    )  # fmt: skip
    edits = [edit for kind in kinds for edit in CHANGES[kind](editing, amount)]
    before, after = (
        Landscape(plan=p, view=view, conditions=conditions, seed=seed).render()
        for p, conditions in zip((editing.before, editing.after), both, strict=True)
    )
    mask = (before.labels != after.labels).astype(np.uint8)
    return ScenePair(before, after, mask, _found(edits, before.labels, after.labels, view))


def _found(
    edits: list[Edit], before: NDArray[np.uint8], after: NDArray[np.uint8], view: GroundView
) -> tuple[Change, ...]:
    """The edits that show, each with the box and the usual classes of its changed pixels."""
    differ = before != after
    found = []
    for edit in sorted(edits, key=lambda e: float(np.prod(np.ptp(e.outline, axis=0)))):
        inside = (fill(view, [edit.outline], [1]) == 1) & differ
        if not inside.any():
            continue
        differ &= ~inside
        rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        old, new = _usual(before[inside]), _usual(after[inside])
        box = (int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1)
        found.append(Change(kind=edit.kind, before=old, after=new, box=box))
    return tuple(found)


def _usual(labels: NDArray[np.uint8]) -> str:
    known = labels[labels != NONE]
    return CLASSES[int(np.bincount(known).argmax())].title if len(known) else "nothing"


def _grown(outline: Points, metres: float) -> Points:
    """A rectangle around an outline, with a margin."""
    (x0, y0), (x1, y1) = outline.min(axis=0) - metres, outline.max(axis=0) + metres
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _in_view(outline: Points, view: GroundView, margin: float = 2.0) -> bool:
    middle = outline.mean(axis=0) - (view.x0, view.y0)
    return bool((middle > margin).all() and (middle < np.array(view.extent) - margin).all())


def _some_things(editing: Editing, kind: str, amount: int) -> dict[int, Points]:
    """Up to `amount` things of a kind that stand in both plans, with their outlines."""
    tables = editing.after.stamps.get(kind, [])
    there = np.concatenate([np.zeros(0, dtype=np.int32), *[t.thing for t in tables]])
    before = np.concatenate([np.zeros(0, dtype=np.int32), *[t.thing for t in editing.before.stamps.get(kind, [])]])
    outlines = thing_outlines(editing.after, np.intersect1d(there, before))
    in_view = {thing: outline for thing, (_, outline, _) in outlines.items() if _in_view(outline, editing.view)}
    chosen: dict[int, Points] = {}
    for thing in editing.rng.permutation(np.array(sorted(in_view), dtype=np.int64)).tolist():
        if len(chosen) < amount and editing.take(_grown(in_view[thing], _MARGIN)):
            chosen[thing] = in_view[thing]
    return chosen


def without(plan: Plan, things: list[int]) -> None:
    """Take things out of a plan."""
    for kind, tables in plan.stamps.items():
        plan.stamps[kind] = [t.take(~np.isin(t.thing, things)) for t in tables]


def _buildings_built(editing: Editing, amount: int) -> list[Edit]:
    chosen = _some_things(editing, "roof", amount)
    without(editing.before, list(chosen))
    return [Edit(kind="building built", outline=_grown(o, _MARGIN)) for o in chosen.values()]


def _buildings_removed(editing: Editing, amount: int) -> list[Edit]:
    chosen = _some_things(editing, "roof", amount)
    without(editing.after, list(chosen))
    return [Edit(kind="building removed", outline=_grown(o, _MARGIN)) for o in chosen.values()]


def _moved(editing: Editing, amount: int, *, kind: str, name: str) -> list[Edit]:
    """Some things of a kind leave, others arrive."""
    chosen = _some_things(editing, kind, 2 * amount)
    leaving, arriving = list(chosen)[::2], list(chosen)[1::2]
    without(editing.after, leaving)
    without(editing.before, arriving)
    return [Edit(kind=f"{name} left", outline=_grown(chosen[t], _MARGIN)) for t in leaving] + [
        Edit(kind=f"{name} arrived", outline=_grown(chosen[t], _MARGIN)) for t in arriving
    ]


def _ships(editing: Editing, amount: int) -> list[Edit]:
    return _moved(editing, amount, kind="ship", name="ship")


def _planes(editing: Editing, amount: int) -> list[Edit]:
    return _moved(editing, amount, kind="plane", name="plane")


def _cars(editing: Editing, amount: int) -> list[Edit]:
    return _moved(editing, amount, kind="car", name="car")


def _trees_felled(editing: Editing, amount: int) -> list[Edit]:
    """Bare blobs in forests: the crowns inside go, the floor turns into soil."""
    rng, after, edits = editing.rng, editing.after, []
    woods = np.argwhere(editing.labels == LABEL["trees"])
    for _ in range(amount if len(woods) > 0.02 * editing.labels.size else 0):
        row, col = woods[rng.integers(len(woods))]
        x, y = editing.view.x0 + col * editing.view.gsd, editing.view.y0 + row * editing.view.gsd
        radius = float(rng.uniform(0.06, 0.16) * min(editing.view.extent))
        outline = blob((float(x), float(y)), rng, radius=radius, rough=0.06)
        if not editing.take(_grown(outline, _CROWN)):
            continue
        for kind in ("wood", "plant"):
            if kind in after.stamps:
                after.stamps[kind] = [_outside(t, outline, editing.view) for t in after.stamps[kind]]
        soil = Area(outline=outline, material="soil", variant=float(rng.random()))
        after.overlays.append(Overlay(area=soil, within="floor"))
        edits.append(Edit(kind="trees felled", outline=_grown(outline, _CROWN)))
    return edits


def _outside(table: Stamps, outline: Points, view: GroundView) -> Stamps:
    """The stamps whose middle does not lie inside an outline."""
    inside = fill(view, [outline], [1]) == 1
    col = np.floor((table.x - view.x0) / view.gsd).astype(np.int64)
    row = np.floor((table.y - view.y0) / view.gsd).astype(np.int64)
    known = (row >= 0) & (row < view.height) & (col >= 0) & (col < view.width)
    hit = np.zeros(len(table), dtype=bool)
    hit[known] = inside[row[known], col[known]]
    return table.take(~hit)


def _water_level(editing: Editing, amount: int) -> list[Edit]:
    """The water falls: the rim of lakes, rivers and the sea turns into mud."""
    after = editing.after
    waters = [area for area in after.areas if area.material == "water"]
    if amount == 0 or not waters or not after.banks:
        return []
    fall = float(editing.rng.uniform(3, 9)) + 2 * editing.view.gsd
    mud = replace(waters[0], material="soil", variant=0.2)
    after.overlays.append(Overlay(area=mud, within="water", rim=fall))
    return [Edit(kind="water fell", outline=_grown(area.outline, _CROWN)) for area in waters]


CHANGES: dict[str, Callable[[Editing, int], list[Edit]]] = {
    "buildings built": _buildings_built,
    "buildings removed": _buildings_removed,
    "trees felled": _trees_felled,
    "water level": _water_level,
    "ships": _ships,
    "planes": _planes,
    "cars": _cars,
}
"""Kinds of change by name: each edits the plans and says where."""
