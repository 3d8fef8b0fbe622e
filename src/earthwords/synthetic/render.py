"""From a theme and a seed to an image with its truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from earthwords.errors import UsageError, unknown
from earthwords.synthetic.brushes.canvas import Canvas
from earthwords.synthetic.brushes.flood import paint_flood
from earthwords.synthetic.brushes.ground import paint_ground
from earthwords.synthetic.brushes.painting import paint_stamps
from earthwords.synthetic.brushes.ribbons import mark_ribbons
from earthwords.synthetic.brushes.snow import lay_snow, relabel_snow, snow_on_roofs
from earthwords.synthetic.brushes.water import paint_wakes, paint_water
from earthwords.synthetic.captions import describe, summarise
from earthwords.synthetic.conditions import SPECIAL, ImagingConditions, draw_conditions
from earthwords.synthetic.noise import GroundView
from earthwords.synthetic.objects import collect_objects
from earthwords.synthetic.plan import Plan
from earthwords.synthetic.scene import RenderedScene, SceneObject
from earthwords.synthetic.sensor import expose
from earthwords.synthetic.themes import DRAWN_THEMES, THEMES, THEMES_TABLE, plan_scene, usual_conditions
from earthwords.types import Grid, Window

_MARGIN = 60.0
"""Metres drawn around a window, so that shadows and shores fall into it."""
_ORDINARY_SUN = math.tan(math.radians(30))
"""Slope of the lowest sun for which they are enough."""


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """A planned scene that can be drawn whole or window by window, for mosaics larger than memory."""

    plan: Plan
    view: GroundView
    """The whole scene."""
    conditions: ImagingConditions
    seed: int

    @staticmethod
    def of(
        *,
        height: int,
        width: int,
        gsd: float = 0.5,
        theme: str | None = None,
        seed: int = 0,
        conditions: Sequence[str] | None = None,
    ) -> Landscape:
        """Lay out a scene without drawing it; arguments as for `render_scene`."""
        view, theme = checked(height=height, width=width, gsd=gsd, theme=theme, seed=seed)
        special = usual_conditions(theme, seed=seed) if conditions is None else checked_conditions(conditions)
        plan, region = plan_scene(view, theme=theme, seed=seed)
        day = draw_conditions(region=region, seed=seed, salt=THEMES.index(theme), special=special)
        return Landscape(plan=plan, view=view, conditions=day, seed=seed)

    @property
    def _shadows(self) -> float:
        """Metres around a window to draw as well; a low sun throws longer shadows."""
        return _MARGIN * max(1.0, _ORDINARY_SUN / math.tan(self.conditions.sun.elevation))

    @cached_property
    def _boxes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`(n, 4)` left, top, right, bottom in metres of the areas and of the ribbons."""
        areas = [np.concatenate([a.outline.min(axis=0), a.outline.max(axis=0)]) for a in self.plan.areas]
        reach = np.array([-1.0, -1.0, 1.0, 1.0])
        ribbons = [
            np.concatenate([r.line.min(axis=0), r.line.max(axis=0)]) + reach * (r.width / 2 + 6)
            for r in self.plan.ribbons
        ]
        return np.array(areas).reshape(-1, 4), np.array(ribbons).reshape(-1, 4)

    def _part(self, view: GroundView) -> Plan:
        """The plan without the areas and ribbons that do not come near the view."""
        part = self.plan.copy()
        right, bottom = view.x0 + view.extent[0], view.y0 + view.extent[1]
        near = [
            (b[:, 0] < right + 2) & (b[:, 1] < bottom + 2) & (b[:, 2] > view.x0 - 2) & (b[:, 3] > view.y0 - 2)
            for b in self._boxes
        ]
        part.areas = [self.plan.areas[i] for i in np.flatnonzero(near[0])]
        part.ribbons = [self.plan.ribbons[i] for i in np.flatnonzero(near[1])]
        return part

    def render(self, window: Window | None = None) -> RenderedScene:
        """Draw all of it, or a window of it.

        Neighbouring windows fit together: what stands on their border is in both, and its shadow
        falls from one into the other. Instance ids are counted per window.
        """
        whole = Window(row=0, col=0, height=self.view.height, width=self.view.width)
        wanted = whole if window is None else whole.intersect(window)
        if wanted is None:
            raise UsageError(
                f"The window {window} lies outside the scene of {self.view.height} x {self.view.width} pixels."
            )
        margin = 0 if wanted == whole else math.ceil((self._shadows + self.plan.relief) / self.view.gsd)
        grown = whole.intersect(
            Window(
                row=wanted.row - margin, col=wanted.col - margin, height=wanted.height + 2 * margin,
                width=wanted.width + 2 * margin,
            )
        )  # fmt: skip
        assert grown is not None
        view = self.view.window(grown)
        plan = self.plan.copy() if wanted == whole else self._part(view)
        canvas = paint(plan, view, self.conditions, seed=self.seed)
        inner = Window(row=wanted.row - grown.row, col=wanted.col - grown.col, height=wanted.height, width=wanted.width)
        return finish(self, plan, canvas, wanted, inner)


def finish(landscape: Landscape, plan: Plan, canvas: Canvas, window: Window, inner: Window) -> RenderedScene:
    """The picture and the truth of a painted canvas; `inner` is the part of it to keep."""
    image = expose(canvas, landscape.conditions, tilt=plan.tilt)[inner.slices]
    kept = canvas.cropped(inner)
    instances, objects = collect_objects(kept, plan)
    return RenderedScene(
        image=np.ascontiguousarray(image),
        labels=kept.labels,
        objects=objects,
        instances=instances,
        captions=captions_of(plan, kept, objects, seed=landscape.conditions.seed),
        grid=grid_of(landscape.view, seed=landscape.seed).window(window),
        gsd_m=landscape.view.gsd,
        theme=plan.theme,
    )


def render_scene(
    *,
    height: int,
    width: int,
    gsd: float = 0.5,
    theme: str | None = None,
    seed: int = 0,
    conditions: Sequence[str] | None = None,
) -> RenderedScene:
    """Draw `height x width` pixels of `gsd` metres; the same arguments give the same scene.

    `theme` is one of `THEMES`; None draws one of `DRAWN_THEMES` by the seed. `conditions` are names
    out of `CONDITIONS`, such as `("low-sun", "jpeg")`; `()` is an ordinary day, and None one of the
    days that suit the theme (`usual_conditions`; an ordinary one for `DRAWN_THEMES`).
    """
    return Landscape.of(height=height, width=width, gsd=gsd, theme=theme, seed=seed, conditions=conditions).render()


def checked_conditions(names: Sequence[str]) -> tuple[str, ...]:
    """The names, or a `UsageError` that says which of them is no row of `SPECIAL`."""
    if isinstance(names, str):
        raise UsageError(f"The conditions are a sequence of names, got the text {names!r}: write ({names!r},).")
    for name in names:
        if name not in SPECIAL:
            raise unknown("condition", name, SPECIAL)
    return tuple(names)


def checked(*, height: int, width: int, gsd: float, theme: str | None, seed: int) -> tuple[GroundView, str]:
    """The view and the theme, or a `UsageError` that says what is wrong."""
    if height < 1 or width < 1:
        raise UsageError(f"A scene needs at least one pixel, got {height} x {width}.")
    if not (math.isfinite(gsd) and 0.1 <= gsd <= 5.0):
        raise UsageError(f"A scene is drawn at 0.1 to 5 metres per pixel, got {gsd}.")
    if seed < 0:
        raise UsageError(f"A seed is a whole number from 0 up, got {seed}.")
    if theme is None:
        theme = DRAWN_THEMES[int(np.random.default_rng([seed, 0x7E]).integers(len(DRAWN_THEMES)))]
    if theme not in THEMES:
        raise unknown("theme", theme, THEMES)
    return GroundView(height=height, width=width, gsd=gsd), theme


def paint(plan: Plan, view: GroundView, conditions: ImagingConditions, *, seed: int) -> Canvas:
    """Paint a plan: light, labels and things, before the sensor.

    Things that cannot stand where they were planned are taken out of the plan.
    """
    canvas = Canvas.blank(view, conditions.sun, seed=seed)
    track = paint_ground(canvas, plan, conditions)
    mark_ribbons(canvas, plan.ribbons, track)
    paint_water(canvas, plan, conditions)
    white = None
    if conditions.season.snow:
        white = lay_snow(canvas, conditions)
        snow_on_roofs(plan, conditions)
    paint_stamps(canvas, plan, conditions)
    paint_wakes(canvas, plan)
    if plan.flood is not None:
        paint_flood(canvas, plan.flood)
    if white is not None:
        relabel_snow(canvas, white)
    return canvas


def captions_of(plan: Plan, canvas: Canvas, objects: tuple[SceneObject, ...], *, seed: int) -> tuple[str, ...]:
    """Sentences about what was drawn; the theme gets its name only where it shows."""
    summary = summarise(canvas.labels, objects, plan, canvas.view)
    theme = THEMES_TABLE[plan.theme]
    return describe(summary, place=theme.word if all(map(summary.has, theme.needs)) else "", seed=seed)


def grid_of(view: GroundView, *, seed: int) -> Grid:
    """A made-up place: a UTM zone and an off-origin corner drawn by the seed."""
    rng = np.random.default_rng([seed, 0x32])
    zone = int(rng.integers(1, 61))
    west = round(float(rng.uniform(3e5, 7e5)) / 10) * 10.0
    north = round(float(rng.uniform(1e6, 6e6)) / 10) * 10.0
    return Grid(
        height=view.height,
        width=view.width,
        transform=Affine(view.gsd, 0.0, west, 0.0, -view.gsd, north),
        crs=CRS.from_epsg(32600 + zone),
    )
