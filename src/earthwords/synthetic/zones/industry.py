"""Fills a rectangle with working ground: halls, yards, car parks, tanks, containers, solar rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes import roofs
from earthwords.synthetic.zones.layout import Rect
from earthwords.synthetic.zones.palette import (
    CONTAINER_COLOURS,
    FLAT_COLOURS,
    GREENHOUSE_COLOURS,
    HALL_COLOURS,
    PANEL_COLOURS,
    TANK_COLOURS,
    Rows,
    pick,
)
from earthwords.synthetic.zones.town import (
    Floats,
    Site,
    cars_at,
    clutter,
    place,
    plants_at,
    roof_boxes,
    street_cars,
    streets,
    trucks_at,
    turned,
)


def block_building(
    site: Site, rect: Rect, *, style: int, height: float, rows: Rows = FLAT_COLOURS, kind: str = "hall", boxes: int = 0,
    thing: NDArray[np.int32] | None = None,
) -> NDArray[np.int32] | None:  # fmt: skip
    """A building that covers a rectangle, with boxes on its roof; a part of `thing` if that is given.

    Returns its thing number, None where there is no room.
    """
    if min(rect.length, rect.depth) < 4:
        return thing
    site, rect = turned(site, rect)
    x, y, angle = place(site, *(np.array([m]) for m in rect.middle))
    colour, names = pick(site.rng, rows, 1)
    if thing is None:
        thing = site.plan.new_things(1)
        site.plan.facts[int(thing[0])] = {"colour": names[0], "kind": kind}
    site.plan.stamp(
        "roof", x=x, y=y, angle=angle, length=rect.length, width=rect.depth, height=height, colour=colour,
        style=style, thing=thing,
    )  # fmt: skip
    if boxes:
        roof_boxes(
            site, x, y, angle, np.array([rect.length]), np.array([rect.depth]), np.array([height]), colour, thing,
            share=0.8, per_roof=boxes, size=min(5.0, rect.depth / 6),
        )  # fmt: skip
    return thing


def parking(site: Site, rect: Rect, *, full: float | None = None) -> None:
    """A car park: double rows of bays, aisles between them, cars in some of the bays."""
    rng = site.rng
    site, rect = turned(site, rect)
    shade = float(rng.random())
    site.cover(rect, "lot", variant=shade)
    site.plan.sign("parking lot", site.frame.ground(*rect.middle))
    inner = rect.inset(2.0)
    if inner.depth < 8 or inner.length < 8:
        return
    full = float(rng.choice([rng.uniform(0, 0.2), rng.uniform(0.3, 0.95)])) if full is None else full
    count = max(1, int((inner.depth + 5.5) // 16.2))
    start = inner.t0 + (inner.depth - min(inner.depth, count * 16.2 - 5.8)) / 2
    angle = float(site.frame.angle_at(*(np.array([m]) for m in rect.middle))[0])
    for k in range(count):
        for t in (start + 16.2 * k, start + 16.2 * k + 5.2):
            if t + 5.2 > rect.t1:
                continue
            bays = Rect(inner.s0, t, inner.s1, t + 5.2)
            site.cover(bays, "lot", variant=shade, rows_angle=angle + np.pi / 2, rows_spacing=2.6,
                rows_depth=1.2, rows_form="paint",
            )  # fmt: skip
            bays_with_cars(site, bays, full=full)
        if rng.random() < 0.35:
            islands(site, Rect(inner.s0, start + 16.2 * k + 4.6, inner.s1, start + 16.2 * k + 5.8))


def bays_with_cars(site: Site, bays: Rect, *, full: float) -> None:
    """Cars across a strip of parking bays 2.6 m wide."""
    s = np.arange(bays.s0 + 1.3, bays.s1 - 1, 2.6)
    s = s[site.rng.random(len(s)) < full]
    t = bays.middle[1] + site.rng.normal(0, 0.25, len(s))
    x, y, angle = place(site, s, t)
    cars_at(site, x, y, angle + np.pi / 2)


def islands(site: Site, strip: Rect) -> None:
    """Trees between rows of bays."""
    s = np.arange(strip.s0 + 4, strip.s1, site.rng.uniform(7, 14))
    x, y, _ = place(site, s, np.full(len(s), strip.middle[1]))
    plants_at(site, x, y, size=(3, 6.5), conifers=0)


def industrial(site: Site, rect: Rect) -> None:
    """Lanes between plots of halls, yards, car parks, tanks and waste ground."""
    rng = site.rng
    fills = (halls, halls, halls, parking, tank_farm, yard, waste)
    weights = np.array([0.26, 0.22, 0.2, 0.08, 0.08, 0.1, 0.06])
    for block in streets(site, rect, kind="avenue", width=rng.uniform(8, 11), size=rng.uniform(90, 170)):
        fills[rng.choice(len(fills), p=weights)](site, block)


def halls(site: Site, rect: Rect) -> None:
    """Large roofs in a row on a paved plot, lorries at their sides, cars in front."""
    rng = site.rng
    site, rect = turned(site, rect)
    site.cover(rect, str(rng.choice(["lot", "concrete", "yard", "grass"])))
    apron = Rect(rect.s0 + 2, rect.t0 + 3, rect.s1 - 2, rect.t1 - 3)
    site.cover(apron.inset(2), str(rng.choice(["lot", "concrete"])))
    front = 14.0 if apron.depth > 50 and rng.random() < 0.6 else 0.0
    if front:
        bays_with_cars(site, Rect(apron.s0 + 3, apron.t0 + 3, apron.s1 - 3, apron.t0 + 8.2), full=rng.uniform(0.2, 0.9))
    clutter(site, apron, density=2.5, size=(1.0, 5.0))
    plot = Rect(apron.s0 + 4, apron.t0 + 4 + front, apron.s1 - 4, apron.t1 - 4)
    count = int(rng.integers(1, 2 + max(1, int(plot.length // 45))))
    rows = _rows_of(rng)
    edges = np.linspace(plot.s0, plot.s1, count + 1)
    gap = rng.uniform(4, 16)
    for a, b in pairwise(edges):
        depth = plot.depth * rng.uniform(0.7, 1.0)
        style = int(rng.choice([roofs.HALL, roofs.HALL, roofs.FLAT, roofs.GABLE if b - a < 30 else roofs.HALL]))
        hall = Rect(a + gap / 2, plot.t1 - depth, b - gap / 2, plot.t1)
        block_building(site, hall, style=style, height=rng.uniform(6, 13), rows=rows, boxes=int(rng.integers(0, 9)))
        s = np.arange(a + gap / 2 + 3, b - gap / 2 - 2, 4.2)
        s = s[rng.random(len(s)) < 0.12]
        x, y, angle = place(site, s, np.full(len(s), plot.t1 - depth - 6.5))
        trucks_at(site, x, y, angle + np.pi / 2)


def _rows_of(rng: np.random.Generator) -> Rows:
    """Neighbouring halls share a colour more often than not."""
    return HALL_COLOURS if rng.random() < 0.5 else (HALL_COLOURS[rng.integers(len(HALL_COLOURS))],)


def tank_farm(site: Site, rect: Rect) -> None:
    """Storage tanks on a lattice inside bunds."""
    rng = site.rng
    site.cover(rect, str(rng.choice(["yard", "concrete", "soil", "grass"])))
    inner = rect.inset(5)
    radius = min(rng.choice([5.0, 9.0, 16.0, 24.0]) * rng.uniform(0.8, 1.2), inner.depth / 2.4, inner.length / 2.4)
    pitch = 2 * radius + rng.uniform(4, 14)
    s, t = inner.inset(max(0.0, radius - pitch / 2 + 1)).lattice(rng, spacing=pitch, jitter=0.0)
    keep = rng.random(len(s)) < 0.88
    s, t = s[keep], t[keep]
    for k in range(len(s)):
        bund = Rect(s[k] - pitch / 2 + 1, t[k] - pitch / 2 + 1, s[k] + pitch / 2 - 1, t[k] + pitch / 2 - 1)
        site.cover(bund, str(rng.choice(["yard", "concrete"])))
    tanks_at(site, s, t, radius=radius * rng.choice([1.0, 1.0, 0.75], len(s)))
    site.plan.sign("tank farm", site.frame.ground(s, t))


def tanks_at(site: Site, s: Floats, t: Floats, *, radius: Floats) -> None:
    """Cylinders at street points."""
    count = len(s)
    if count == 0:
        return
    x, y, angle = place(site, s, t)
    colours, names = pick(site.rng, TANK_COLOURS, count, spread=0.06)
    things = site.plan.new_things(count)
    site.plan.stamp(
        "tank", x=x, y=y, angle=angle, length=2 * radius, width=2 * radius,
        height=np.clip(radius * 0.9, 5, 16), colour=colours, thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name}


def yard(site: Site, rect: Rect) -> None:
    """Storage in the open: containers or lorries."""
    rng = site.rng
    site.cover(rect, "concrete")
    clutter(site, rect, density=6.0, size=(1.0, 6.0))
    if rng.random() < 0.6:
        containers(site, rect.inset(6))
    else:
        s, t = rect.inset(8).lattice(rng, spacing=7.0, jitter=0.05)
        keep = rng.random(len(s)) < 0.4
        x, y, angle = place(site, s[keep], t[keep])
        trucks_at(site, x, y, angle)


def containers(site: Site, rect: Rect, *, fill: float = 0.75) -> None:
    """Blocks of stacked containers with lanes between them."""
    rng = site.rng
    site, rect = turned(site, rect)
    s, t = np.meshgrid(np.arange(rect.s0 + 6.5, rect.s1 - 6, 12.8), np.arange(rect.t0 + 2, rect.t1 - 2, 2.75))
    lane = (np.floor((t - rect.t0) / 2.75).astype(int) % 9) < 6
    block = np.floor((s - rect.s0) / 51).astype(int) * 31 + np.floor((t - rect.t0) / 25).astype(int)
    crowded = np.random.default_rng(int(rng.integers(2**31))).random(int(block.max(initial=0)) + 1) < fill
    keep = (lane & crowded[block] & (rng.random(s.shape) < 0.85)).ravel()
    s, t = s.ravel()[keep], t.ravel()[keep]
    if len(s) == 0:
        return
    x, y, angle = place(site, s, t)
    colours, names = pick(rng, CONTAINER_COLOURS, len(s))
    things = site.plan.new_things(len(s))
    site.plan.stamp(
        "container", x=x, y=y, angle=angle, length=12.2, width=2.5, height=2.6 * rng.integers(1, 5, len(s)),
        colour=colours, thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name}


def waste(site: Site, rect: Rect) -> None:
    """Waste ground with bushes."""
    site.cover(rect, str(site.rng.choice(["scrub", "soil", "meadow"])))
    s, t = rect.scatter(site.rng, int(rect.length * rect.depth / 250))
    x, y, _ = place(site, s, t)
    plants_at(site, x, y, size=(1.5, 6))


def commercial(site: Site, rect: Rect) -> None:
    """Dense blocks of flat roofs and towers."""
    rng = site.rng
    tall = rng.choice([12.0, 25.0, 60.0])
    first, width = len(site.plan.ribbons), rng.uniform(10, 16)
    blocks = streets(site, rect, kind="avenue", width=width, size=rng.uniform(70, 130))
    for road in site.plan.ribbons[first:]:
        street_cars(site, road.line, width=width, spacing=rng.uniform(18, 50))
    for block in blocks:
        draw = rng.random()
        if draw < 0.12:
            parking(site, block)
        elif draw < 0.2:
            site.cover(block, "lawn")
            x, y, _ = place(site, *block.inset(4).lattice(rng, spacing=9))
            plants_at(site, x, y, size=(4, 9))
        else:
            city_block(site, block, tall=tall)


def city_block(site: Site, block: Rect, *, tall: float) -> None:
    """Buildings of different height that fill a block but for courts and alleys."""
    rng = site.rng
    site.cover(block, str(rng.choice(["paving", "lot", "concrete"])))
    inner = block.inset(3)
    columns, rows = max(1, round(inner.length / rng.uniform(24, 45))), max(1, round(inner.depth / rng.uniform(22, 40)))
    for s0, s1 in pairwise(np.linspace(inner.s0, inner.s1, columns + 1)):
        for t0, t1 in pairwise(np.linspace(inner.t0, inner.t1, rows + 1)):
            plot = Rect(s0, t0, s1, t1)
            if rng.random() < 0.1:
                x, y, _ = place(site, *plot.inset(4).scatter(rng, 5))
                plants_at(site, x, y, size=(3, 8))
                continue
            _tower(
                site,
                plot.inset(rng.uniform(0.2, 3.0)),
                height=float(rng.uniform(6, 16) if rng.random() < 0.6 else rng.uniform(10, tall)),
            )


def _tower(site: Site, plot: Rect, *, height: float) -> None:
    """A block, a block around a court, or a tower on a low base."""
    rng = site.rng
    boxes, draw = int(rng.integers(2, 9)), rng.random()
    kind = "tower" if height > 25 else "block"
    small = min(plot.length, plot.depth) < 22
    if draw < 0.3 and height > 18 and not small:
        thing = block_building(site, plot, style=roofs.FLAT, height=float(rng.uniform(5, 12)), kind=kind, boxes=2)
        inner = plot.inset(min(plot.length, plot.depth) * rng.uniform(0.15, 0.3))
        block_building(site, inner, style=roofs.FLAT, height=height, boxes=boxes, thing=thing, kind=kind)
    elif draw < 0.5 and not small:
        _court(site, plot, height=min(height, 28.0), kind=kind)
    else:
        old = height < 14 and rng.random() < 0.4
        style = int(rng.choice([roofs.HIP, roofs.GABLE])) if old and small else roofs.FLAT
        block_building(site, plot, style=style, height=height, kind=kind, boxes=boxes if style == roofs.FLAT else 0)


def _court(site: Site, plot: Rect, *, height: float, kind: str) -> None:
    """Three or four wings around a court."""
    rng = site.rng
    deep = min(plot.length, plot.depth) * rng.uniform(0.25, 0.36)
    style = int(rng.choice([roofs.FLAT, roofs.HIP]))
    wings = [
        Rect(plot.s0, plot.t0, plot.s1, plot.t0 + deep),
        Rect(plot.s0, plot.t0, plot.s0 + deep, plot.t1),
        Rect(plot.s1 - deep, plot.t0, plot.s1, plot.t1),
        Rect(plot.s0, plot.t1 - deep, plot.s1, plot.t1),
    ]
    thing: NDArray[np.int32] | None = None
    colours = (FLAT_COLOURS[rng.integers(len(FLAT_COLOURS))],)
    for wing in wings[: 3 + (rng.random() < 0.6)]:
        thing = block_building(site, wing, style=style, height=height, rows=colours, kind=kind, boxes=2, thing=thing)


def slabs(site: Site, rect: Rect) -> None:
    """Rows of parallel blocks of flats on lawns."""
    rng = site.rng
    depth, gap, height = rng.uniform(11, 15), rng.uniform(16, 34), rng.uniform(14, 50)
    style = int(rng.choice([roofs.FLAT, roofs.FLAT, roofs.GABLE]))
    for block in streets(site, rect, kind="street", width=8, size=rng.uniform(110, 180)):
        site.cover(block, str(rng.choice(["garden", "lawn", "paving"])))
        x, y, _ = place(site, *block.inset(3).scatter(rng, int(block.length * block.depth / 160)))
        t = block.t0 + rng.uniform(5, 9)
        while t + depth + 3 < block.t1:
            count = max(1, round(block.length / rng.uniform(38, 75)))
            for a, b in pairwise(np.linspace(block.s0 + 3, block.s1 - 3, count + 1)):
                slab = Rect(a + 3, t, b - 3, t + depth)
                block_building(site, slab, style=style, height=height, kind="block of flats", boxes=6)
            lane = Rect(block.s0, t + depth + 4, block.s1, t + depth + 8)
            site.cover(lane, "lot")
            bays_with_cars(site, Rect(lane.s0, lane.t0 - 1, lane.s1, lane.t1 + 1), full=rng.uniform(0.1, 0.7))
            t += depth + gap
        plants_at(site, x, y, size=(3, 8))


def solar_farm(site: Site, rect: Rect) -> None:
    """Long tables of modules in parallel rows."""
    rng = site.rng
    ground = str(rng.choice(["grass", "meadow", "soil", "sand"]))
    deep, pitch = rng.uniform(2.2, 5.0), rng.uniform(5.5, 10)
    blocks = streets_of_dirt(site, rect)
    for block in blocks:
        site.cover(block, ground)
        if rng.random() < 0.1:
            continue
        inner = block.inset(4)
        s = np.arange(inner.s0 + 12, inner.s1 - 11, 24.6)
        s, t = (a.ravel() for a in np.meshgrid(s, np.arange(inner.t0 + deep, inner.t1 - deep, max(pitch, deep + 2))))
        panels_at(site, s, t, length=24.0, width=deep)
        site.plan.sign("solar farm", site.frame.ground(s, t))
        station = Rect(inner.s0, inner.t0 - 3, inner.s0 + 6, inner.t0)
        if rng.random() < 0.3:
            block_building(site, station, style=roofs.FLAT, height=3, kind="station")


def streets_of_dirt(site: Site, rect: Rect) -> list[Rect]:
    """Blocks between unpaved service roads."""
    return streets(site, rect, kind="track", width=4.0, size=site.rng.uniform(110, 220))


def panels_at(site: Site, s: Floats, t: Floats, *, length: float, width: float, base: float = 0.0) -> None:
    """Tables of solar modules centred on street points."""
    if len(s) == 0:
        return
    x, y, angle = place(site, s, t)
    colour, _ = pick(site.rng, PANEL_COLOURS, 1)
    colours: NDArray[np.float32] = np.repeat(colour, len(s), axis=0)
    site.plan.stamp(
        "panels", x=x, y=y, angle=angle, length=length, width=width, height=1.5, base=base, colour=colours,
        thing=site.plan.new_things(len(s)),
    )  # fmt: skip


def greenhouses(site: Site, rect: Rect) -> None:
    """Rows of film tunnels among vegetable beds."""
    rng = site.rng
    site, rect = turned(site, rect)
    site.cover(rect, "crop")
    deep, long = rng.uniform(8, 26), rng.uniform(40, 90)
    for s in np.arange(rect.s0 + long / 2 + 3, rect.s1 - long / 2, long + 6):
        t = np.arange(rect.t0 + deep / 2 + 3, rect.t1 - deep / 2 - 1, deep + rng.uniform(1.5, 4))
        t = t[rng.random(len(t)) < 0.85]
        if len(t) == 0:
            continue
        x, y, angle = place(site, np.full(len(t), s), t)
        colours, _ = pick(rng, GREENHOUSE_COLOURS, len(t))
        site.plan.stamp(
            "greenhouse", x=x, y=y, angle=angle, length=long, width=deep, height=4.0, colour=colours,
            thing=site.plan.new_things(len(t)),
        )  # fmt: skip
