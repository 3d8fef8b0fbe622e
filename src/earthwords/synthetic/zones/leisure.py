"""Fills a rectangle with leisure: parks and ponds, sports grounds, stadiums, golf."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes import roofs
from earthwords.synthetic.zones.industry import block_building, parking
from earthwords.synthetic.zones.layout import Points, Rect, blob, smooth_line
from earthwords.synthetic.zones.open_ground import grove
from earthwords.synthetic.zones.palette import COURT_COLOURS, PITCH_COLOURS, STAND_COLOURS, pick
from earthwords.synthetic.zones.town import Site, place, plants_at, turned


def park(site: Site, rect: Rect) -> None:
    """Lawns, groups of trees, paths, often a pond."""
    rng = site.rng
    site.cover(rect, "grass")
    inner = rect.inset(6)
    if min(inner.length, inner.depth) < 20:
        return
    for _ in range(rng.integers(2, 6)):
        s, t = inner.scatter(rng, 1)
        grove(site, site.frame.ground(s, t)[0], radius=rng.uniform(6, 22))
    if rng.random() < 0.4:
        ground = site.frame.ground(*inner.middle)[0]
        pond(site, ground, radius=min(inner.length, inner.depth) * rng.uniform(0.15, 0.3))
    s, t = inner.scatter(rng, int(rect.length * rect.depth / 500))
    x, y, _ = place(site, s, t)
    plants_at(site, x, y, size=(4, 11))
    paths(site, inner, count=int(rng.integers(1, 4)))


def paths(site: Site, rect: Rect, *, count: int) -> None:
    """Winding footpaths."""
    for _ in range(count):
        s, t = rect.scatter(site.rng, 4)
        order = np.argsort(s if rect.length > rect.depth else t)
        line = smooth_line(site.frame.ground(s[order], t[order]))
        site.plan.ribbon(line, "path", width=site.rng.uniform(1.8, 3.5))


def pond(site: Site, centre: Points, *, radius: float, stretch: float = 1.6) -> None:
    """A pond with a natural shore and a rim of reeds or sand."""
    rng = site.rng
    rim = blob((float(centre[0]), float(centre[1])), rng, radius=radius, rough=0.07, stretch=stretch)
    bank = centre + (rim - centre) * (1 + rng.uniform(2, 7) / radius)
    site.plan.area(bank, str(rng.choice(["meadow", "soil", "garden", "sand"])))
    site.plan.area(rim, "water")
    site.plan.sign("lake" if radius > 60 else "pond", centre)


def lake_park(site: Site, rect: Rect) -> None:
    """A large lake in a park."""
    rng = site.rng
    park(site, rect)
    s, t = rect.inset(rect.length * 0.35).scatter(rng, 1)
    size = min(site.extent) * rng.uniform(0.18, 0.4)
    pond(site, site.frame.ground(s, t)[0], radius=float(np.clip(size, 20, 600)), stretch=2.2)
    for _ in range(int(np.clip(min(site.extent) / 60, 2, 14))):
        s, t = rect.scatter(rng, 1)
        grove(site, site.frame.ground(s, t)[0], radius=rng.uniform(10, 45))
    paths(site, rect, count=4)


def pitches_at(site: Site, rect: Rect, *, kind: str = "football", thing: NDArray[np.int32] | None = None) -> None:
    """One sports field that fills a rectangle."""
    site, rect = turned(site, rect)
    x, y, angle = place(site, *(np.array([m]) for m in rect.middle))
    colour, names = pick(site.rng, PITCH_COLOURS, 1)
    thing = site.plan.new_things(1) if thing is None else thing
    site.plan.stamp(
        "pitch", x=x, y=y, angle=angle, length=rect.length, width=rect.depth, height=0.02, colour=colour, thing=thing
    )
    site.plan.facts[int(thing[0])] = {"colour": names[0], "kind": kind}


def track_field(site: Site, centre: tuple[float, float]) -> None:
    """A football field inside a running track."""
    s, t = centre
    ring = Rect(s - 88, t - 46, s + 88, t + 46)
    half = np.array([0.0])
    x, y, angle = place(site, np.array([s]), np.array([t]))
    tone = site.rng.choice(["a4604c", "8f5040", "b0705a", "5a7ca0"], p=[0.45, 0.3, 0.15, 0.1])
    thing = site.plan.new_things(1)
    colour, _ = pick(site.rng, ((str(tone), "red", 1.0),), 1)
    site.plan.stamp(
        "oval", x=x, y=y, angle=angle, length=ring.length, width=ring.depth, height=0.01 + half, colour=colour,
        thing=thing,
    )  # fmt: skip
    site.plan.facts[int(thing[0])] = {"colour": "red", "kind": "running track"}
    pitches_at(site, Rect(s - 52, t - 34, s + 52, t + 34), kind="running track", thing=thing)


def courts(site: Site, rect: Rect) -> None:
    """Tennis courts side by side."""
    rng = site.rng
    site, rect = turned(site, rect)
    s = np.arange(rect.s0 + 9, rect.s1 - 9, 17.5)
    if len(s) == 0 or rect.depth < 34:
        return
    x, y, angle = place(site, s, np.full(len(s), rect.middle[1]))
    colours, names = pick(rng, (COURT_COLOURS[rng.integers(len(COURT_COLOURS))],), len(s), spread=0.04)
    things = site.plan.new_things(len(s))
    site.plan.stamp(
        "court", x=x, y=y, angle=angle + np.pi / 2, length=34.0, width=17.0, height=0.02, colour=colours,
        style=float(rng.integers(3)), thing=things,
    )  # fmt: skip
    for thing, name in zip(things.tolist(), names, strict=True):
        site.plan.facts[thing] = {"colour": name}


def diamond(site: Site, s: float, t: float) -> None:
    """A baseball field; its corner is at a street point."""
    x, y, angle = place(site, np.array([s]), np.array([t]))
    colour, _ = pick(site.rng, PITCH_COLOURS, 1)
    thing = site.plan.new_things(1)
    size = site.rng.uniform(85, 115)
    site.plan.stamp(
        "diamond", x=x, y=y, angle=angle + site.rng.uniform(0, 6.28), length=size, width=size, height=0.02,
        colour=colour, thing=thing,
    )  # fmt: skip
    site.plan.facts[int(thing[0])] = {"colour": "green", "kind": "baseball field"}


def sports_ground(site: Site, rect: Rect) -> None:
    """Fields, courts, a track and trees."""
    rng = site.rng
    site, rect = turned(site, rect)
    site.cover(rect, "lawn")
    inner = rect.inset(8)
    if inner.depth > 98 and inner.length > 190 and rng.random() < 0.6:
        track_field(site, (inner.s0 + 92, inner.middle[1]))
        inner = inner._replace(s0=inner.s0 + 190)
    while inner.length > 40:
        draw = rng.random()
        if draw < 0.5 and inner.length > 60 and inner.depth > 90:
            pitches_at(site, Rect(inner.s0, inner.t0, inner.s0 + 58, inner.t0 + 90))
            inner = inner._replace(s0=inner.s0 + 66)
        elif draw < 0.7 and inner.length > 110 and inner.depth > 110:
            diamond(site, inner.s0 + 52, inner.middle[1])
            inner = inner._replace(s0=inner.s0 + 115)
        else:
            site.cover(Rect(inner.s0, inner.t0, inner.s0 + 38, inner.t0 + 36), "paving")
            courts(site, Rect(inner.s0, inner.t0, inner.s0 + 37, inner.t0 + 36))
            inner = inner._replace(s0=inner.s0 + 48)
    x, y, _ = place(site, *rect.inset(3).scatter(rng, int(rect.length * rect.depth / 500)))
    plants_at(site, x, y, size=(4, 10))


def stadium(site: Site, rect: Rect) -> None:
    """An oval of stands around a field, car parks around it."""
    rng = site.rng
    site, rect = turned(site, rect)
    s, t = rect.middle
    site.cover(rect, "paving")
    for s0, s1 in ((rect.s0, s - 165), (s + 165, rect.s1)):
        if s1 - s0 > 30:
            parking(site, Rect(s0 + 2, rect.t0 + 2, s1 - 2, rect.t1 - 2))
    track = rng.random() < 0.5
    inner = (185.0, 100.0) if track else (122.0, 84.0)
    wide = rng.uniform(24, 42)
    x, y, angle = place(site, np.array([s]), np.array([t]))
    colour, names = pick(rng, STAND_COLOURS, 1)
    thing = site.plan.new_things(1)
    site.plan.stamp(
        "stand", x=x, y=y, angle=angle, length=inner[0] + 2 * wide, width=inner[1] + 2 * wide,
        height=rng.uniform(14, 30), colour=colour, style=wide, thing=thing,
    )  # fmt: skip
    site.plan.facts[int(thing[0])] = {"colour": names[0], "kind": "stadium"}
    site.cover(Rect(s - inner[0] / 2, t - inner[1] / 2, s + inner[0] / 2, t + inner[1] / 2), "lawn")
    if track:
        track_field(site, (s, t))
    else:
        pitches_at(site, Rect(s - 52, t - 34, s + 52, t + 34))
    site.plan.sign("stadium", site.frame.ground(s, t))


def golf(site: Site, rect: Rect) -> None:
    """Fairways, greens and bunkers among trees."""
    rng = site.rng
    site.cover(rect, "meadow")
    for _ in range(int(rect.length * rect.depth / 12_000) + 1):
        s, t = rect.scatter(rng, 1)
        ground = site.frame.ground(s, t)[0]
        centre = (float(ground[0]), float(ground[1]))
        site.plan.area(blob(centre, rng, radius=rng.uniform(18, 40), rough=0.06, stretch=6), "lawn", variant=0.2)
        for _ in range(rng.integers(1, 4)):
            move = rng.normal(0, 25, 2)
            site.plan.area(
                blob((centre[0] + move[0], centre[1] + move[1]), rng, radius=rng.uniform(4, 9), rough=0.05), "sand"
            )
        grove(site, ground + rng.normal(0, 50, 2), radius=rng.uniform(8, 25))
    if rng.random() < 0.6:
        s, t = rect.scatter(rng, 1)
        pond(site, site.frame.ground(s, t)[0], radius=rng.uniform(15, 40))
    x, y, _ = place(site, *rect.scatter(rng, int(rect.length * rect.depth / 700)))
    plants_at(site, x, y, size=(4, 11))
    block_building(
        site, Rect(rect.s0 + 8, rect.t0 + 8, rect.s0 + 38, rect.t0 + 24), style=roofs.HIP, height=6, kind="club house"
    )
