"""Draws the ground of a plan: areas and ribbons, the colours of their materials, rows and hills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes.canvas import Canvas, fill
from earthwords.synthetic.brushes.ribbons import Track, lay_ribbons, line_cover, raise_decks, ribbon_areas
from earthwords.synthetic.brushes.water import shore_distance
from earthwords.synthetic.conditions import ImagingConditions
from earthwords.synthetic.materials import BUILT, MATERIAL_LABEL, TEXTURES, ground_colours
from earthwords.synthetic.noise import GroundView, Plane, fractal, resize, turned_octave
from earthwords.synthetic.plan import Area, Plan
from earthwords.synthetic.scene import LABEL

_STRIP = 256
"""Rows coloured at a time, to keep temporaries small."""
_FORMS = ("furrow", "paint", "slab")
_ROUGH = 0.3
"""Metres by which natural borders are frayed."""


def paint_ground(canvas: Canvas, plan: Plan, conditions: ImagingConditions) -> Track:
    """Fill labels and colours of the whole view; returns where the ribbons ran."""
    areas: list[Area] = [*plan.areas, *ribbon_areas(plan.ribbons)]
    index = fill(canvas.view, [a.outline for a in plan.areas], range(len(plan.areas)))
    index = np.maximum(index, 0)
    hills = _hills(canvas, plan)
    if plan.terrain:
        first = len(areas)
        areas += [Area(outline=plan.areas[0].outline, material=m, variant=0.3) for m in plan.terrain]
        index = first + _slopes(canvas, plan, hills)
    index = _fray(canvas, index, [a.material for a in areas])
    areas += [o.area for o in plan.overlays]
    _overlay(canvas, plan, [a.material for a in areas], index)
    labels = np.array([MATERIAL_LABEL[a.material] for a in areas], dtype=np.uint8)
    water = labels[index] == LABEL["water"]
    track = lay_ribbons(canvas.view, plan.ribbons, index, first=len(plan.areas), water=water)
    raise_decks(canvas, plan.ribbons, track, water)
    canvas.labels[:] = labels[index]
    table = _MaterialTable.of(areas, conditions)
    for row in range(0, canvas.view.height, _STRIP):
        _colour_strip(canvas, table, index, slice(row, row + _STRIP))
    _relieve(canvas, plan, hills)
    return track


def _overlay(canvas: Canvas, plan: Plan, materials: list[str], index: NDArray[np.int32]) -> None:
    """Write the plan's overlays, the last areas, into the area index, in place."""
    names = np.array(materials)
    for k, overlay in enumerate(plan.overlays, start=len(materials) - len(plan.overlays)):
        base = names[index] == overlay.within
        if overlay.rim:
            changed = base & (shore_distance(base, canvas.view.gsd) < overlay.rim)
        else:
            changed = base & (fill(canvas.view, [overlay.area.outline], [1]) == 1)
        index[changed] = k


def _fray(canvas: Canvas, index: NDArray[np.int32], materials: list[str]) -> NDArray[np.int32]:
    """Move every pixel's look-up by a noisy half metre, so that natural borders are not ruled lines."""
    reach = _ROUGH / canvas.view.gsd
    if reach < 0.3:
        return index
    rows = np.arange(index.shape[0], dtype=np.float32)[:, None]
    cols = np.arange(index.shape[1], dtype=np.float32)[None, :]
    row = rows + canvas.noise.micro * np.float32(reach)
    col = cols + canvas.patches.micro * np.float32(reach)
    row = np.clip(np.rint(row), 0, index.shape[0] - 1).astype(np.int32)
    col = np.clip(np.rint(col), 0, index.shape[1] - 1).astype(np.int32)
    built = np.array([m in BUILT for m in materials])
    moved = index[row, col]
    return np.where(built[index] | built[moved], index, moved)


@dataclass(frozen=True, kw_only=True)
class _MaterialTable:
    """One row per area, looked up by the area index of a pixel."""

    first: NDArray[np.float32]
    second: NDArray[np.float32]
    mix: NDArray[np.float32]
    """`(area, 3)`"""
    bright: NDArray[np.float32]
    """`(area, 4)`"""
    rows: NDArray[np.float32]
    """`(area, 5)`: direction x, direction y, metres between rows, depth, position in `_FORMS`."""

    @staticmethod
    def of(areas: list[Area], conditions: ImagingConditions) -> _MaterialTable:
        colours = [
            ground_colours(conditions.region, conditions.season, name=a.material, variant=a.variant) for a in areas
        ]
        textures = [TEXTURES[a.material] for a in areas]
        rows = [
            (-np.sin(a.rows_angle), np.cos(a.rows_angle), a.rows_spacing, a.rows_depth, _FORMS.index(a.rows_form))
            for a in areas
        ]
        return _MaterialTable(
            first=np.stack([c[0] for c in colours]),
            second=np.stack([c[1] for c in colours]),
            mix=np.array([t.mix for t in textures], dtype=np.float32),
            bright=np.array([t.bright for t in textures], dtype=np.float32),
            rows=np.array(rows, dtype=np.float32),
        )


def _colour_strip(canvas: Canvas, table: _MaterialTable, index: NDArray[np.int32], rows: slice) -> None:
    area = index[rows]
    noise, patches = canvas.noise, canvas.patches
    mix: Plane = np.full(area.shape, 0.45, dtype=np.float32)
    for k, plane in enumerate((patches.macro, patches.meso, patches.micro)):
        mix += table.mix[:, k].take(area) * plane[rows]
    bright: Plane = np.ones(area.shape, dtype=np.float32)
    for k, plane in enumerate((noise.macro, noise.meso, noise.micro, noise.grain)):
        bright += table.bright[:, k].take(area) * plane[rows]
    bright *= _furrows(canvas, table, area, rows)
    mix = np.clip(mix, 0.0, 1.0)
    bright = np.clip(bright, 0.25, 2.0)
    for band in range(3):
        first, second = table.first[:, band], table.second[:, band]
        canvas.rgb[rows, :, band] = (first.take(area) + (second - first).take(area) * mix) * bright


def _furrows(canvas: Canvas, table: _MaterialTable, area: NDArray[np.int32], rows: slice) -> Plane:
    """`(row, col)` factor of brightness: rows, painted lines and slabs of the areas that have them."""
    factor = np.ones(area.shape, dtype=np.float32)
    where = np.flatnonzero(table.rows[:, 3].take(area))
    if len(where) == 0:
        return factor
    view = canvas.view
    dx, dy, spacing, depth, form = table.rows[area.reshape(-1)[where]].T
    row, col = np.divmod(where, view.width)
    x = (col * view.gsd + view.x0).astype(np.float32)
    y = ((row + rows.start) * view.gsd + view.y0).astype(np.float32)
    across, along = (x * dx + y * dy) / spacing, (x * dy - y * dx) / spacing
    bend = canvas.noise.meso[rows].reshape(-1)[where]
    patchy = 1 + np.float32(0.5) * canvas.patches.meso[rows].reshape(-1)[where]
    visible = np.clip(1.3 - 2.2 * np.float32(view.gsd) / spacing, 0.0, 1.0)
    furrow = depth * visible * patchy * np.sin(np.float32(2 * np.pi) * across + np.float32(0.6) * bend)
    paint = depth * line_cover((across - np.rint(across)) * spacing, 0.13, view.gsd)
    joint = np.minimum(np.abs(across - np.rint(across)), np.abs(along - np.rint(along))) * spacing
    tone = np.sin(np.rint(across + 0.5) * np.float32(12.9898) + np.rint(along + 0.5) * np.float32(78.233)) * 437.5
    slab = depth * ((tone - np.floor(tone)) - np.float32(0.5)) - np.float32(0.2) * line_cover(joint, 0.15, view.gsd)
    factor.reshape(-1)[where] += np.choose(form.astype(np.int64), [furrow, paint, slab])
    return factor


def _hills(canvas: Canvas, plan: Plan) -> Plane:
    """Height of the ground in metres, `(row, col)`."""
    view = canvas.view
    if plan.terrain:
        return plan.relief * _ridges(view, seed=canvas.seed)
    if plan.relief == 0 and plan.ripples == 0:
        return np.zeros((1, 1), dtype=np.float32)
    hills = fractal(view, longest=400.0, shortest=6.0, seed=canvas.seed * 97 + 91, gain=0.5) * np.float32(plan.relief)
    return hills + _dunes(canvas, plan) if plan.ripples else hills


def _ridges(view: GroundView, *, seed: int) -> Plane:
    """Mountains, about unit height: Musgrave's ridged multifractal. Every octave is turned, so that
    no ridge follows the pixel grid, and finer ridges grow on the coarser ones."""
    total = np.zeros((2, 2), dtype=np.float32)
    last: Plane = np.ones((2, 2), dtype=np.float32)
    wavelength, weight, k = 1300.0, 1.0, 0
    while wavelength > 4 * view.gsd or k == 0:
        factor = max(1.0, wavelength / (12 * view.gsd), 2.0 / view.gsd)
        height, width = max(2, round(view.height / factor)), max(2, round(view.width / factor))
        wave = turned_octave(
            view, wavelength=wavelength, turn=0.7 + 1.9 * k, seed=seed * 97 + k, height=height, width=width
        )
        ridge = np.square(1 - np.minimum(np.abs(wave), 1)) * np.clip(resize(last, height, width) * 2.2, 0.35, 1)
        total = resize(total, height, width) + np.float32(weight) * ridge
        last, wavelength, weight, k = ridge, wavelength / 2.03, weight * 0.56, k + 1
    rough = fractal(view, longest=18.0, shortest=1.0, seed=seed * 97 + 90, gain=0.6)
    return resize(total, *view.shape) + np.float32(0.006) * rough


def _gradient(hills: Plane, gsd: float) -> tuple[Plane, Plane]:
    """Slope along rows and along columns; nothing slopes in a view one pixel wide."""
    if min(hills.shape) < 2:
        return np.zeros_like(hills), np.zeros_like(hills)
    step = np.float32(gsd)
    return np.gradient(hills, step, axis=0), np.gradient(hills, step, axis=1)


def _slopes(canvas: Canvas, plan: Plan, hills: Plane) -> NDArray[np.int32]:
    """`(row, col)` 0 for high and steep ground to `count - 1` for low and flat ground."""
    gy, gx = _gradient(hills, canvas.view.gsd)
    steep, count = np.hypot(gx, gy), len(plan.terrain)
    level = hills / np.float32(0.37 * plan.relief) - 1
    level = level + 0.8 * (steep - 0.6) + 0.35 * canvas.patches.meso + 0.35 * canvas.patches.macro
    return np.clip(np.floor((1.1 - level) * count / 2.2), 0, count - 1).astype(np.int32)


def _relieve(canvas: Canvas, plan: Plan, hills: Plane) -> None:
    """Shade the ground by its relief; in mountains the relief also casts shadows."""
    if hills.size == 1:
        return
    gy, gx = _gradient(hills, canvas.view.gsd)
    canvas.shade *= canvas.sun.shade(gx, gy)
    if plan.terrain:
        canvas.terrain, canvas.slope_shade = hills, canvas.shade.copy()


def _dunes(canvas: Canvas, plan: Plan) -> Plane:
    """Height in metres of wind ripples: bent crests, steep on the lee side."""
    view = canvas.view
    dx, dy = np.float32(np.cos(plan.wind)), np.float32(np.sin(plan.wind))
    x = (np.arange(view.width, dtype=np.float32) * view.gsd + view.x0)[None, :]
    y = (np.arange(view.height, dtype=np.float32) * view.gsd + view.y0)[:, None]
    total = np.zeros(view.shape, dtype=np.float32)
    for wavelength in (8.0, 27.0, 95.0):
        if wavelength > 3 * view.gsd:
            slow = fractal(view, longest=9 * wavelength, shortest=4 * wavelength, seed=canvas.seed * 97 + 92)
            phase = (x * dx + y * dy) / np.float32(wavelength) + np.float32(0.9) * slow
            saw = np.mod(phase, 1)
            crest = np.where(saw < 0.7, saw / 0.7, (1 - saw) / 0.3).astype(np.float32)
            total += np.float32(plan.ripples * wavelength * 0.03) * crest * crest
    return total * (1 + np.float32(0.5) * canvas.noise.macro)
