"""Lays out the places where ships, planes and trains stop."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from earthwords.synthetic.brushes import roofs
from earthwords.synthetic.zones.corridors import clear
from earthwords.synthetic.zones.industry import block_building, containers, halls, industrial, parking, tank_farm
from earthwords.synthetic.zones.layout import Rect
from earthwords.synthetic.zones.palette import (
    HALL_COLOURS,
    HULL_COLOURS,
    PLANE_COLOURS,
    SHIP_COLOURS,
    STAND_COLOURS,
    pick,
)
from earthwords.synthetic.zones.town import Floats, Site, cars_at, place, trucks_at


def ships_at(site: Site, s: Floats, t: Floats, turn: Floats, *, length: Floats, moving: float = 0.0) -> None:
    """Ships at street points; `turn` is their heading against the street, `moving` the share with a wake."""
    rng, count = site.rng, len(s)
    if count == 0:
        return
    x, y, angle = place(site, s, t)
    heading = angle + turn
    small, names = pick(rng, SHIP_COLOURS, count)
    large, large_names = pick(rng, HULL_COLOURS, count)
    big = length > 60
    things = site.plan.new_things(count)
    width = length * np.where(big, rng.uniform(0.13, 0.17, count), rng.uniform(0.24, 0.34, count))
    site.plan.stamp(
        "ship", x=x, y=y, angle=heading, length=length, width=width, height=np.clip(length * 0.14, 1.2, 22),
        colour=np.where(big[:, None], large, small), thing=things,
    )  # fmt: skip
    for i, thing in enumerate(things.tolist()):
        site.plan.facts[thing] = {
            "colour": large_names[i] if big[i] else names[i],
            "kind": "ship" if length[i] > 25 else "boat",
        }
    moves = rng.random(count) < moving
    if moves.any():
        tail = length[moves] * rng.uniform(2.0, 4.5, moves.sum())
        back = tail / 2 + length[moves] * 0.3
        site.plan.stamp(
            "wake", x=x[moves] - back * np.cos(heading[moves]), y=y[moves] - back * np.sin(heading[moves]),
            angle=heading[moves], length=tail, width=width[moves] * 5, height=0.0,
            thing=things[moves],
        )  # fmt: skip


def sea_traffic(site: Site, rect: Rect, *, count: int, largest: float = 200.0) -> None:
    """Ships and boats on open water."""
    rng = site.rng
    s, t = rect.scatter(rng, count)
    length = rng.choice([8.0, 14.0, 30.0, 90.0, 180.0], count, p=[0.35, 0.25, 0.2, 0.12, 0.08]) * rng.uniform(
        0.8, 1.2, count
    )
    length = np.minimum(length, largest * rng.uniform(0.6, 1.0, count))
    ships_at(site, s, t, rng.uniform(0, 6.28, count), length=length, moving=0.5)


def marina(site: Site, rect: Rect) -> None:
    """Floating piers with boats on both sides, reaching into the water along `t`."""
    rng = site.rng
    boat = rng.uniform(8, 15)
    for s in np.arange(rect.s0 + 20, rect.s1 - 20, 3.4 * boat):
        end = rect.t0 + rng.uniform(0.6, 1.0) * rect.depth
        site.plan.ribbon(site.frame.line((s, rect.t0 - 4), (s, end)), "pier", width=2.4)
        for side in (-1, 1):
            t = np.arange(rect.t0 + 8, end - 2, boat * 0.42)
            t = t[rng.random(len(t)) < rng.uniform(0.4, 0.95)]
            turn = np.full(len(t), 0.0 if side > 0 else np.pi) + rng.normal(0, 0.03, len(t))
            length = boat * rng.uniform(0.7, 0.98, len(t))
            ships_at(site, s + side * (1.8 + length / 2), t, turn, length=length)
    site.plan.sign("marina", site.frame.ground(*rect.middle))


def quay(site: Site, land: Rect) -> None:
    """A cargo quay along the `t1` side: aprons, containers, halls, tanks, ships alongside."""
    rng = site.rng
    site.cover(land, "concrete")
    edge = land.t1
    blocks = np.arange(land.s0, land.s1 + 1, rng.uniform(90, 170))
    for a, b in pairwise(blocks):
        block = Rect(a + 5, max(land.t0, edge - rng.uniform(90, 160)), b - 5, edge - rng.uniform(18, 34))
        fill = rng.choice(5, p=[0.42, 0.22, 0.12, 0.12, 0.12])
        if fill == 0:
            containers(site, block)
        else:
            (halls, tank_farm, parking, _stockpile)[fill - 1](site, block)
    site.plan.ribbon(site.frame.line((land.s0, edge - 14), (land.s1, edge - 14)), "lane", width=7)
    s = np.arange(land.s0, land.s1, 24.0)
    x, y, angle = place(site, s, np.full(len(s), edge - 14.0) + rng.choice([-1.8, 1.8], len(s)))
    keep = rng.random(len(s)) < 0.3
    trucks_at(site, x[keep], y[keep], angle[keep])
    berths(site, land.s0, land.s1, edge)


def berths(site: Site, s0: float, s1: float, edge: float) -> None:
    """Ships moored along a quay at `t = edge`, with gaps."""
    rng = site.rng
    s, length = s0 + rng.uniform(0, 40), []
    middles = []
    while s < s1:
        size = float(rng.choice([rng.uniform(18, 45), rng.uniform(70, 130), rng.uniform(130, 220)]))
        if rng.random() < 0.7:
            middles.append(s + size / 2)
            length.append(size)
        s += size + rng.uniform(8, 60)
    lengths = np.array(length)
    off = np.where(lengths > 60, lengths * 0.085, lengths * 0.16) + 2.5
    ships_at(site, np.array(middles), edge + off, rng.choice([0.0, np.pi], len(lengths)), length=lengths)


def _stockpile(site: Site, rect: Rect) -> None:
    """Bulk cargo in heaps: patches of other ground."""
    for _ in range(4):
        s, t = rect.inset(12).scatter(site.rng, 1)
        heap = Rect(s[0] - 12, t[0] - 9, s[0] + 12, t[0] + 9)
        site.cover(heap, str(site.rng.choice(["soil", "rock", "sand", "yard"])))


def harbour(site: Site, rect: Rect) -> None:
    """Land with quays and sheds on one side, a basin with ships on the other."""
    rng = site.rng
    edge = float(rng.uniform(-0.1, 0.15) * min(site.extent))
    site.plan.banks = False
    site.cover(rect, "water")
    land = rect._replace(t1=edge)
    site.cover(land, "concrete")
    cargo = rng.random() < 0.65
    site.plan.shelf = float(rng.uniform(1, 4))
    industrial(site, Rect(rect.s0, rect.t0, rect.s1, edge - (195 if cargo else 65)))
    if cargo:
        quay(site, Rect(rect.s0, edge - 190, rect.s1, edge))
    else:
        promenade(site, Rect(rect.s0, edge - 60, rect.s1, edge))
        marina(site, Rect(rect.s0, edge, rect.s1, edge + rng.uniform(70, 150)))
    if rng.random() < 0.5 and cargo:
        pier = Rect(s0 := rng.uniform(-90, 50), edge, s0 + rng.uniform(45, 120), edge + rng.uniform(80, 260))
        site.cover(pier, "concrete")
        containers(site, pier.inset(12), fill=0.6)
    if rng.random() < 0.4:
        mole = site.frame.line((rect.s0, edge + 250), (rng.uniform(-60, 80), edge + 230))
        site.plan.ribbon(mole, "pier", width=9)
    sea_traffic(site, rect._replace(t0=edge + 60), count=int(np.clip(rect.length * rect.depth / 60_000, 1, 60)))


def promenade(site: Site, rect: Rect) -> None:
    """A waterfront street with car parks and restaurants."""
    rng = site.rng
    site.plan.ribbon(site.frame.line((rect.s0, rect.t0 + 6), (rect.s1, rect.t0 + 6)), "street", width=8)
    for s in np.arange(rect.s0, rect.s1, 70.0):
        plot = Rect(s + 3, rect.t0 + 14, s + 67, rect.t1 - 12)
        if rng.random() < 0.5:
            parking(site, plot)
        else:
            block_building(
                site, plot.inset(6), style=int(rng.choice([roofs.FLAT, roofs.HIP])), height=6, boxes=3, kind="pavilion"
            )


def runway(site: Site, rect: Rect, t: float) -> float:
    """A runway with its taxiway at `t`; returns the `t` of the taxiway."""
    rng = site.rng
    half = min(rect.length / 2 - 20, rng.uniform(700, 1800))
    middle = rng.uniform(-0.3, 0.3) * half
    line = site.frame.line((middle - half, t), (middle + half, t))
    site.plan.ribbon(line, "runway", width=rng.choice([30.0, 45.0, 60.0]))
    gap = rng.uniform(95, 150)
    taxi = t + gap
    site.plan.ribbon(site.frame.line((middle - half, taxi), (middle + half, taxi)), "taxiway", width=18)
    for s in np.arange(middle - half, middle + half + 1, rng.uniform(250, 450)):
        exit_line = site.frame.line((s, t), (s + rng.choice([0.0, 60.0]), taxi))
        site.plan.ribbon(exit_line, "taxiway", width=18)
    site.plan.ribbons.append(site.plan.ribbons.pop(-1))
    return taxi


def planes_at(site: Site, s: Floats, t: Floats, turn: Floats, *, length: Floats) -> None:
    """Planes at street points; `turn` is the direction of the nose against the street."""
    rng, count = site.rng, len(s)
    if count == 0:
        return
    x, y, angle = place(site, s, t)
    colours, names = pick(rng, PLANE_COLOURS, count, spread=0.06)
    things = site.plan.new_things(count)
    site.plan.stamp(
        "plane", x=x, y=y, angle=angle + turn, length=length, width=length * rng.uniform(0.88, 1.02, count),
        height=length * 0.14, colour=colours, thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name}


def slabs(site: Site, rect: Rect) -> None:
    """A field of concrete slabs."""
    rng = site.rng
    angle = float(site.frame.angle_at(*(np.array([m]) for m in rect.middle))[0])
    site.cover(rect, str(rng.choice(["concrete", "concrete", "lot"])), rows_angle=angle,
        rows_spacing=float(rng.choice([5.0, 7.5])), rows_depth=float(rng.uniform(0.02, 0.10)), rows_form="slab",
    )  # fmt: skip


def terminal(site: Site, rect: Rect) -> None:
    """An apron with planes nosed in at a terminal, car parks behind it; the apron is at `t0`."""
    rng = site.rng
    size = float(rng.choice([18.0, 38.0, 60.0], p=[0.2, 0.55, 0.25]))
    depth = size * 2.1
    apron = rect._replace(t1=rect.t0 + depth + 20)
    slabs(site, apron)
    s = np.arange(rect.s0 + size, rect.s1 - size, size * 1.25)
    keep = rng.random(len(s)) < rng.uniform(0.45, 0.9)
    lengths = np.full(len(s), size) * rng.uniform(0.85, 1.05, len(s))
    nose = apron.t1 - rng.uniform(6, 10)
    planes_at(site, s[keep], (nose - lengths / 2)[keep], np.full(keep.sum(), np.pi / 2), length=lengths[keep])
    hall = Rect(rect.s0 + 10, apron.t1, rect.s1 - 10, apron.t1 + rng.uniform(28, 55))
    site.cover(hall.inset(-12), "concrete")
    block_building(site, hall, style=roofs.FLAT, height=16, rows=STAND_COLOURS[:2], kind="terminal", boxes=14)
    site.plan.sign("terminal", site.frame.ground(*hall.middle))
    site.plan.ribbon(site.frame.line((rect.s0 - 200, hall.t1 + 12), (rect.s1 + 200, hall.t1 + 12)), "avenue", width=14)
    for s0 in np.arange(rect.s0, rect.s1, 110.0):
        parking(
            site, Rect(s0, hall.t1 + 26, s0 + 100, hall.t1 + 26 + rng.uniform(60, 110)), full=rng.uniform(0.5, 0.95)
        )
    x, y, angle = place(site, *Rect(apron.s0, nose - depth, apron.s1, apron.t1).scatter(rng, 12))
    cars_at(site, x, y, angle, trucks=0.5)


def airport(site: Site, rect: Rect) -> None:
    """Runway, taxiways, aprons with planes, terminal, hangars, grass between them."""
    rng = site.rng
    angle = float(site.frame.angle_at(np.zeros(1), np.zeros(1))[0])
    site.cover(rect, str(rng.choice(["lawn", "grass", "meadow"])), rows_angle=angle,
        rows_spacing=float(rng.choice([4.0, 9.0, 20.0])), rows_depth=float(rng.uniform(0, 0.06)),
    )  # fmt: skip
    size = min(site.extent)
    focus = rng.uniform(-0.2, 0.2) * size - rng.choice([0.0, 110.0, 200.0, 240.0], p=[0.25, 0.1, 0.45, 0.2])
    taxi = runway(site, rect, float(focus))
    start = rng.uniform(-0.9, -0.3) * max(size, 300)
    for k in range(3):
        zone = Rect(start + k * 420, taxi + 30, start + k * 420 + 390, rect.t1)
        if not site.visible(zone._replace(t1=zone.t0 + 260)):
            continue
        if k == 0 or rng.random() < 0.5:
            terminal(site, zone)
        else:
            hangars(site, zone)


def hangars(site: Site, zone: Rect) -> None:
    """Hangars behind an apron with small planes."""
    rng = site.rng
    apron = zone._replace(t1=zone.t0 + 70)
    slabs(site, apron)
    wide = rng.uniform(35, 65)
    for s in np.arange(zone.s0, zone.s1 - wide, wide + rng.uniform(8, 20)):
        block_building(
            site,
            Rect(s, apron.t1, s + wide, apron.t1 + rng.uniform(30, 50)),
            style=roofs.HALL,
            height=12,
            rows=HALL_COLOURS,
            kind="hangar",
        )
    s, t = apron.inset(14).lattice(rng, spacing=22, jitter=0.1)
    keep = rng.random(len(s)) < 0.5
    count = int(keep.sum())
    planes_at(site, s[keep], t[keep], rng.choice([0.0, np.pi / 2, np.pi], count), length=rng.uniform(9, 17, count))


def station(site: Site, rect: Rect) -> None:
    """A railway station: many tracks, long platform roofs, a station hall and its square."""
    rng = site.rng
    tracks = int(rng.integers(4, 12))
    line = site.frame.line((rect.s0, 0.0), (rect.s1, 0.0))
    half = tracks * 4.7 / 2
    clear(site.plan, line, reach=half + 14)
    front = Rect(-150, half + 12, 150, half + 85)
    clear(site.plan, site.frame.ground(*front.lattice(rng, spacing=12, jitter=0)), reach=10, roads="keep")
    site.cover(Rect(rect.s0, -half - 12, rect.s1, half + 12), "soil")
    site.plan.ribbon(line, "railway", width=tracks * 4.7)
    square = Rect(-150, half + 12, 150, half + 85)
    site.cover(square, "paving")
    block_building(
        site, Rect(-60, half + 14, 60, half + 38), style=roofs.HALL, height=15, rows=HALL_COLOURS, kind="station"
    )
    parking(site, Rect(70, half + 45, 148, half + 82))
    parking(site, Rect(-148, half + 45, -70, half + 82))
    for t in np.arange(-half + 9.4, half - 5, 14.1):
        platform = Rect(-120, t - 4, 120, t + 4)
        site.plan.ribbon(site.frame.line((platform.s0, t), (platform.s1, t)), "pier", width=8)
        roof = platform.inset(1.2)._replace(s0=-90, s1=90)
        block_building(site, roof, style=roofs.GABLE, height=5, rows=HALL_COLOURS, kind="platform roof")
    site.plan.sign("railway station", site.frame.ground(0.0, half + 26))
