"""Fills a rectangle of a street frame with houses and gardens, villas, or blocks of flats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes import plants, roofs
from earthwords.synthetic.plan import Plan, Points
from earthwords.synthetic.regions import Region
from earthwords.synthetic.zones.layout import Frame, Rect, along, offset, split
from earthwords.synthetic.zones.palette import (
    CAR_COLOURS,
    CLUTTER_COLOURS,
    FENCE_COLOURS,
    FLAT_COLOURS,
    POOL_COLOURS,
    TRUCK_COLOURS,
    WALL_COLOURS,
    pick,
    pick_roofs,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What every fill function needs besides its rectangle."""

    plan: Plan
    frame: Frame
    region: Region
    coarse: float
    """Ground sample distance in metres the plan is meant for; finer things may be left out."""
    extent: tuple[float, float]
    """Width and height of the drawn ground, metres."""

    @property
    def rng(self) -> np.random.Generator:
        return self.plan.rng

    def cover(self, rect: Rect, material: str, **row: Any) -> None:
        """Make the ground of a street rectangle of a material; `row` as in `Plan.area`."""
        self.plan.area(rect.outline(self.frame), material, **row)

    def visible(self, rect: Rect, *, margin: float = 40.0) -> bool:
        """Whether a rectangle comes near the drawn ground."""
        low, high = (f(rect.outline(self.frame), axis=0) for f in (np.min, np.max))
        return bool((high > -margin).all() and (low < np.array(self.extent) + margin).all())


@dataclass(frozen=True, kw_only=True)
class Lots:
    """Lots along streets, one row each; `front` is the street side, `inward` points away from it."""

    s: Floats
    """Middle of the lot along the street."""
    front: Floats
    """`t` of the street side."""
    inward: Floats
    """+1 or -1."""
    width: Floats
    depth: Floats

    def at(self, along: Floats, inward: Floats) -> tuple[Floats, Floats]:
        """`(s, t)` a distance along the street from the middle, and inward from the front."""
        return self.s + along, self.front + self.inward * inward


def place(site: Site, s: Floats, t: Floats) -> tuple[Floats, Floats, Floats]:
    """Ground x, y and the direction of the street there."""
    ground = site.frame.ground(s, t)
    return ground[:, 0], ground[:, 1], site.frame.angle_at(s, t)


def streets(site: Site, rect: Rect, *, kind: str, width: float, size: float) -> list[Rect]:
    """Cut a zone into blocks by streets; returns the blocks."""
    margin = width + 4
    blocks, cuts = split(rect, site.rng, size=size, widths=(width + 3.0,))
    for cut in reversed(cuts):
        site.plan.ribbon(site.frame.line(cut.p, cut.q), kind, width=width)
    return [b for b in blocks if min(b.length, b.depth) > margin and site.visible(b)]


def lots_of(block: Rect, rng: np.random.Generator, *, width: float) -> Lots:
    """Two rows of lots back to back along the block's longer side (turned frames: see `turned`)."""
    count = max(1, round(block.length / width))
    edges = block.s0 + np.linspace(0, block.length, count + 1)
    edges[1:-1] += rng.uniform(-0.15, 0.15, count - 1) * width
    middle, size = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    return Lots(
        s=np.tile(middle, 2),
        front=np.repeat([block.t0, block.t1], count),
        inward=np.repeat([1.0, -1.0], count),
        width=np.tile(size, 2),
        depth=np.full(2 * count, block.depth / 2),
    )


def turned(site: Site, block: Rect) -> tuple[Site, Rect]:
    """The same ground with the longer side along `s`."""
    if block.length >= block.depth:
        return site, block
    cs, ct = block.middle
    ground = site.frame.ground(cs, ct)[0]
    angle = float(site.frame.angle_at(np.array([cs]), np.array([ct]))[0]) + np.pi / 2
    frame = Frame(angle=angle, centre=(float(ground[0]), float(ground[1])))
    half_s, half_t = block.depth / 2, block.length / 2
    return replace(site, frame=frame), Rect(-half_s, -half_t, half_s, half_t)


def houses(site: Site, lots: Lots, *, size: tuple[float, float], setback: float, storey: float = 3.0) -> None:
    """A house per lot, a third of them with a wing."""
    rng, count = site.rng, len(lots.s)
    length = np.clip(lots.width * rng.uniform(0.5, 0.78, count), 6.5, size[1])
    depth = np.clip(rng.uniform(*size, count) * 0.8, 6.0, lots.depth * 0.6)
    inward = setback + rng.uniform(-1, 2.0, count) + depth / 2
    shift = rng.uniform(-0.5, 0.5, count) * np.maximum(lots.width - length - 2, 0)
    s, t = lots.at(shift, inward)
    x, y, angle = place(site, s, t)
    things = site.plan.new_things(count)
    colours, names = pick_roofs(rng, site.region.roofs, count)
    styles = np.where(rng.random(count) < site.region.pitched, rng.choice([roofs.GABLE, roofs.HIP], count), roofs.FLAT)
    storeys = rng.choice([1, 2, 2, 3], count)
    swap = (length < depth) & (styles != roofs.FLAT)
    site.plan.stamp(
        "roof", x=x, y=y, length=np.where(swap, depth, length), width=np.where(swap, length, depth),
        angle=angle + np.where(swap, np.pi / 2, 0.0), height=storey * storeys, colour=colours, style=styles,
        thing=things, key=rng.random(count),
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name, "kind": "house"}
    _wings(site, lots, s, t, length, depth, colours, styles, storeys * storey, things)
    if site.region.pitched < 0.5:
        roof_boxes(site, x, y, angle, length, depth, storeys * storey, colours, things, share=0.8)


def _wings(
    site: Site, lots: Lots, s: Floats, t: Floats, length: Floats, depth: Floats,
    colours: NDArray[np.float32], styles: NDArray[np.int64], height: Floats, things: NDArray[np.int32],
) -> None:  # fmt: skip
    rng = site.rng
    has = rng.random(len(s)) < 0.4
    side = rng.choice([-1.0, 1.0], len(s))
    wing_width = np.clip(length * rng.uniform(0.32, 0.5, len(s)), 3.5, 9)
    wing_depth = depth * rng.uniform(1.2, 1.5, len(s))
    ws = s + side * (length - wing_width) / 2
    x, y, angle = place(site, ws, t + lots.inward * (wing_depth - depth) / 2)
    site.plan.stamp(
        "roof", x=x[has], y=y[has], length=wing_depth[has], width=wing_width[has],
        angle=(angle + np.pi / 2)[has], height=height[has] * rng.choice([0.7, 1.0], has.sum()),
        colour=colours[has], style=styles[has], thing=things[has],
    )  # fmt: skip


def roof_boxes(
    site: Site, x: Floats, y: Floats, angle: Floats, length: Floats, width: Floats, height: Floats,
    colours: NDArray[np.float32], things: NDArray[np.int32], *, share: float, per_roof: int = 2, size: float = 3.0,
) -> None:  # fmt: skip
    """Stair heads, tanks and machines on flat roofs."""
    rng = site.rng
    index = np.repeat(np.arange(len(x)), per_roof)
    index = index[rng.random(len(index)) < share]
    u = rng.uniform(-0.36, 0.36, len(index)) * length[index]
    v = rng.uniform(-0.34, 0.34, len(index)) * width[index]
    cos, sin = np.cos(angle[index]), np.sin(angle[index])
    tone = rng.uniform(0.55, 1.35, (len(index), 1))
    site.plan.stamp(
        "roof", x=x[index] + u * cos - v * sin, y=y[index] + u * sin + v * cos, angle=angle[index],
        length=np.minimum(rng.uniform(0.5, 1.6, len(index)) * size, length[index] * 0.3),
        width=np.minimum(rng.uniform(0.5, 1.2, len(index)) * size, width[index] * 0.3),
        height=rng.uniform(1.0, 2.8, len(index)), base=height[index], style=roofs.BOX,
        colour=colours[index] * tone, thing=things[index],
    )  # fmt: skip


def gardens(site: Site, lots: Lots, *, materials: tuple[str, ...]) -> None:
    """Ground of each lot."""
    rng = site.rng
    chosen = rng.integers(len(materials), size=len(lots.s))
    for i in range(len(lots.s)):
        t0, t1 = sorted((lots.front[i], lots.front[i] + lots.inward[i] * lots.depth[i]))
        half = lots.width[i] / 2
        rect = Rect(lots.s[i] - half, t0, lots.s[i] + half, t1)
        site.cover(rect, materials[chosen[i]])


def driveways(site: Site, lots: Lots, *, length: float, share: float = 0.7) -> None:
    """A paved strip from the street beside or to the house, often with a car on it."""
    rng = site.rng
    for i in np.flatnonzero(rng.random(len(lots.s)) < share):
        s = lots.s[i] + rng.choice([-0.36, 0.36]) * lots.width[i]
        t0, t1 = sorted((lots.front[i] - lots.inward[i] * 1.5, lots.front[i] + lots.inward[i] * length))
        half = rng.uniform(1.5, 2.6)
        site.cover(Rect(s - half, t0, s + half, t1), "concrete")
        if rng.random() < 0.5:
            x, y, angle = place(site, np.array([s]), np.array([lots.front[i] + lots.inward[i] * 4.0]))
            cars_at(site, x, y, angle + np.pi / 2)


def cars_at(site: Site, x: Floats, y: Floats, angle: Floats, *, trucks: float = 0.0) -> None:
    """Cars on the given points; a share of them are trucks."""
    rng = site.rng
    heavy = rng.random(len(x)) < trucks
    trucks_at(site, x[heavy], y[heavy], angle[heavy])
    x, y, angle = x[~heavy], y[~heavy], angle[~heavy]
    count = len(x)
    if count == 0 or site.coarse > 2.2:
        return
    colours, names = pick(rng, CAR_COLOURS, count)
    things = site.plan.new_things(count)
    site.plan.stamp(
        "car", x=x, y=y, angle=angle + rng.choice([0.0, np.pi], count), length=rng.uniform(4.0, 5.1, count),
        width=rng.uniform(1.75, 2.0, count), height=rng.uniform(1.4, 1.9, count), colour=colours, thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name}


def trucks_at(site: Site, x: Floats, y: Floats, angle: Floats) -> None:
    """Lorries on the given points."""
    rng, count = site.rng, len(x)
    if count == 0:
        return
    colours, names = pick(rng, TRUCK_COLOURS, count)
    things = site.plan.new_things(count)
    site.plan.stamp(
        "truck", x=x, y=y, angle=angle, length=rng.uniform(8.0, 16.5, count), width=2.5, height=3.6,
        colour=colours, thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name}


def street_cars(site: Site, line: Points, *, width: float, spacing: float) -> None:
    """Cars parked at both kerbs and some on the move."""
    rng = site.rng
    for side in (-1, 1):
        points, angle = along(offset(line, side * (width / 2 - 1.2)), spacing=6.2, start=rng.uniform(8, 14))
        keep = rng.random(len(points)) < 6.2 / spacing
        cars_at(site, points[keep, 0], points[keep, 1], angle[keep] + rng.normal(0, 0.03, keep.sum()))
    points, angle = along(offset(line, width / 4), spacing=9.0, start=rng.uniform(0, 30))
    keep = rng.random(len(points)) < 0.05
    cars_at(site, points[keep, 0], points[keep, 1], angle[keep])


def plants_at(
    site: Site,
    x: Floats,
    y: Floats,
    *,
    size: tuple[float, float],
    conifers: float = 0.15,
    palms: float = 0.0,
    kind: str = "plant",
) -> None:
    """Trees or shrubs with crowns of `size` metres across."""
    rng, count = site.rng, len(x)
    if count == 0:
        return
    crown = rng.uniform(*size, count)
    if kind != "wood" and 1.6 * site.coarse > size[1]:
        keep = rng.random(count) < (size[1] / (1.6 * site.coarse)) ** 2
        x, y, crown, count = x[keep], y[keep], crown[keep], int(keep.sum())
    crown = np.maximum(crown, 1.6 * site.coarse)
    draw = rng.random(count)
    style = np.where(draw < palms, plants.PALM, np.where(draw > 1 - conifers, plants.CONIFER, plants.BROADLEAF))
    crown = np.where(style == plants.PALM, np.minimum(crown, rng.uniform(4.0, 6.0, count)), crown)
    crown = np.where(style == plants.CONIFER, crown * 0.75, crown)
    site.plan.stamp(
        kind, x=x, y=y, length=crown, width=crown, height=crown * rng.uniform(0.8, 1.4, count), style=style,
        angle=rng.uniform(0, 6.28, count),
    )  # fmt: skip


def lot_trees(site: Site, lots: Lots, *, per_lot: float, palms: float = 0.0) -> None:
    """Trees and shrubs at the back, the sides and the front of lots."""
    rng = site.rng
    index = np.repeat(np.arange(len(lots.s)), rng.poisson(per_lot, len(lots.s)))
    deep = np.where(rng.random(len(index)) < 0.6, rng.uniform(0.6, 1.0, len(index)), rng.uniform(0.05, 1, len(index)))
    s = lots.s[index] + rng.uniform(-0.5, 0.5, len(index)) * lots.width[index]
    t = lots.front[index] + lots.inward[index] * deep * lots.depth[index]
    x, y, _ = place(site, s, t)
    small = rng.random(len(index)) < 0.5
    plants_at(site, x[small], y[small], size=(1.5, 4.0), palms=palms)
    plants_at(site, x[~small], y[~small], size=(4.0, 11.0), palms=palms)


def pools(site: Site, lots: Lots, *, share: float) -> None:
    """Swimming pools behind houses."""
    rng = site.rng
    i = np.flatnonzero(rng.random(len(lots.s)) < share)
    if len(i) == 0:
        return
    s, t = (
        lots.s[i] + rng.uniform(-0.2, 0.2, len(i)) * lots.width[i],
        lots.front[i] + lots.inward[i] * lots.depth[i] * 0.8,
    )
    x, y, angle = place(site, s, t)
    colours, _ = pick(rng, POOL_COLOURS, len(i))
    site.plan.stamp(
        "pool", x=x, y=y, angle=angle, length=rng.uniform(6, 10, len(i)), width=rng.uniform(3.2, 5.0, len(i)),
        height=0.02, colour=colours, style=rng.choice([0, 1], len(i), p=[0.7, 0.3]), thing=site.plan.new_things(len(i)),
    )  # fmt: skip


def sheds(site: Site, lots: Lots, *, share: float) -> None:
    """Garages and sheds at the back."""
    rng = site.rng
    i = np.flatnonzero(rng.random(len(lots.s)) < share)
    if len(i) == 0:
        return
    s = lots.s[i] + rng.choice([-0.36, 0.36], len(i)) * lots.width[i]
    x, y, angle = place(site, s, lots.front[i] + lots.inward[i] * lots.depth[i] * 0.86)
    colours, names = pick(rng, FLAT_COLOURS, len(i))
    things = site.plan.new_things(len(i))
    site.plan.stamp(
        "roof", x=x, y=y, angle=angle, length=rng.uniform(3, 6, len(i)), width=rng.uniform(2.5, 4, len(i)),
        height=2.4, colour=colours, style=rng.choice([roofs.FLAT, roofs.GABLE], len(i)), thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name, "kind": "shed"}


def fences(site: Site, lots: Lots, *, share: float, wall: bool = False) -> None:
    """Fences, hedges or walls between lots and at their backs."""
    rng = site.rng
    if site.coarse > 1.2:
        return
    i = np.flatnonzero(rng.random(len(lots.s)) < share)
    if len(i) == 0:
        return
    hedges = ~np.full(len(i), wall) & (rng.random(len(i)) < 0.4)
    colour, _ = pick(rng, WALL_COLOURS if wall else FENCE_COLOURS, len(i))
    colour[hedges] = np.array([0.03, 0.06, 0.025])
    thick = np.where(hedges, rng.uniform(0.7, 1.4, len(i)), 0.35 if wall else 0.18)
    height = np.where(hedges, 1.5, 2.4 if wall else 1.4)
    x, y, angle = place(site, lots.s[i] - lots.width[i] / 2, lots.front[i] + lots.inward[i] * lots.depth[i] * 0.55)
    site.plan.stamp(
        "clutter",
        x=x,
        y=y,
        angle=angle + np.pi / 2,
        length=lots.depth[i] * 0.88,
        width=thick,
        height=height,
        colour=colour,
    )
    x, y, angle = place(site, lots.s[i], lots.front[i] + lots.inward[i] * (lots.depth[i] - 0.4))
    site.plan.stamp("clutter", x=x, y=y, angle=angle, length=lots.width[i], width=thick, height=height, colour=colour)


def clutter(site: Site, rect: Rect, *, density: float, size: tuple[float, float] = (0.6, 3.0)) -> None:
    """Small boxes, heaps and pieces of garden furniture; `density` per 1000 square metres."""
    rng = site.rng
    if site.coarse > 1.5:
        return
    count = rng.poisson(rect.length * rect.depth * density / 1000)
    x, y, angle = place(site, *rect.scatter(rng, count))
    if count == 0:
        return
    colour, _ = pick(rng, CLUTTER_COLOURS, count, spread=0.3)
    site.plan.stamp(
        "clutter", x=x, y=y, angle=angle + rng.choice([0.0, 0.0, 0.5], count), length=rng.uniform(*size, count),
        width=rng.uniform(*size, count) * 0.7, height=rng.uniform(0.3, 1.8, count), colour=colour,
    )  # fmt: skip


def patios(site: Site, lots: Lots, *, share: float) -> None:
    """Terraces behind houses and paths to their doors."""
    rng = site.rng
    for i in np.flatnonzero(rng.random(len(lots.s)) < share):
        s = lots.s[i] + rng.uniform(-0.2, 0.2) * lots.width[i]
        at = lots.front[i] + lots.inward[i] * rng.uniform(0.5, 0.62) * lots.depth[i]
        half, deep = rng.uniform(1.5, 4), rng.uniform(1.5, 3.5)
        rect = Rect(s - half, at - deep, s + half, at + deep)
        site.cover(rect, str(rng.choice(["paving", "concrete", "soil"])))


def residential(site: Site, rect: Rect) -> None:
    """Streets with detached houses in green gardens."""
    rng = site.rng
    width, lot = rng.uniform(6, 8.5), rng.uniform(15, 26)
    depth, leafy, fenced = rng.uniform(27, 38), rng.choice([1.5, 4.0, 8.0]), rng.choice([0.0, 0.6, 0.95])
    first = len(site.plan.ribbons)
    for block in streets(site, rect, kind="street", width=width, size=rng.uniform(75, 120)):
        at, block = turned(site, block)
        rows = max(1, round(block.depth / (2 * depth)))
        edges = np.linspace(block.t0, block.t1, rows + 1)
        for t0, t1 in pairwise(edges):
            strip = Rect(block.s0, t0, block.s1, t1)
            lots = lots_of(strip, rng, width=lot)
            gardens(at, lots, materials=("lawn", "garden", "grass", "lawn", "garden"))
            setback = rng.uniform(4.5, 8)
            driveways(at, lots, length=setback + 4)
            patios(at, lots, share=0.5)
            houses(at, lots, size=(9, 17), setback=setback)
            fences(at, lots, share=fenced)
            clutter(at, strip, density=2.0)
            sheds(at, lots, share=0.25)
            pools(at, lots, share=0.06 + 0.12 * (site.region.name in ("mediterranean", "tropical")))
            lot_trees(at, lots, per_lot=leafy * rng.uniform(0.6, 1.4))
        if rows > 1:
            for t in edges[1:-1]:
                site.plan.ribbon(at.frame.line((block.s0 - 4, t), (block.s1 + 4, t)), "lane", width=5.0)
    for road in site.plan.ribbons[first:]:
        street_cars(site, road.line, width=road.width, spacing=rng.uniform(25, 70))


def villas(site: Site, rect: Rect) -> None:
    """Walled flat-roofed villas on sand, with palms."""
    rng = site.rng
    lot, depth = rng.uniform(15, 24), rng.uniform(18, 26)
    first = len(site.plan.ribbons)
    for block in streets(site, rect, kind="street", width=rng.uniform(7, 10), size=rng.uniform(60, 100)):
        at, block = turned(site, block)
        rows = max(1, round(block.depth / (2 * depth)))
        edges = np.linspace(block.t0, block.t1, rows + 1)
        for t0, t1 in pairwise(edges):
            strip = Rect(block.s0, t0 + 2.5 * (t0 > block.t0), block.s1, t1)
            lots = lots_of(strip, rng, width=lot)
            if rng.random() < 0.12:
                continue
            gardens(at, lots, materials=("paving", "yard", "sand", "garden", "lawn"))
            houses(at, lots, size=(11, 17), setback=rng.uniform(3, 5), storey=3.5)
            fences(at, lots, share=0.95, wall=True)
            clutter(at, strip, density=5.0)
            pools(at, lots, share=0.1)
            sheds(at, lots, share=0.3)
            lot_trees(at, lots, per_lot=rng.uniform(1, 3.5), palms=0.5)
    for road in site.plan.ribbons[first:]:
        street_cars(site, road.line, width=road.width, spacing=rng.uniform(25, 80))
