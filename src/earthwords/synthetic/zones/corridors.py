"""Lines that cut through a scene (rivers, highways, railways), roundabouts, and the room they need."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from earthwords.synthetic.plan import Plan, Ribbon, Stamps
from earthwords.synthetic.zones.layout import Frame, Points, Rect, along, blob, offset, resample, smooth_line
from earthwords.synthetic.zones.town import Site, cars_at, plants_at


def clear(plan: Plan, line: Points, *, reach: float, roads: str = "cut") -> None:
    """Remove what stands within `reach` metres of a line.

    `roads`: "cut" removes those that run along the line, and keeps those that cross it; with "keep"
    and "remove" the line is a set of points, and all roads near them stay or go.
    """
    near = cKDTree(resample(line, step=6.0) if roads == "cut" else line)
    gone: list[NDArray[np.int32]] = []
    for kind, tables in plan.stamps.items():
        table = Stamps.join(tables) if tables else None
        if table is None or len(table) == 0:
            continue
        distance, _ = near.query(np.stack([table.x, table.y], axis=1), distance_upper_bound=reach + 60)
        hit = distance < reach + np.minimum(table.length, table.width) / 2
        gone.append(table.thing[hit & (table.thing > 0)])
        plan.stamps[kind] = [table.take(~hit)]
    dead = np.unique(np.concatenate([np.zeros(0, dtype=np.int32), *gone]))
    for kind, tables in plan.stamps.items():
        plan.stamps[kind] = [t.take(~np.isin(t.thing, dead)) for t in tables]
    if roads != "keep":
        bridges = roads == "cut"
        plan.ribbons[:] = [part for road in plan.ribbons for part in _cut_road(road, near, reach, bridges=bridges)]


def _cut_road(road: Ribbon, line: cKDTree, reach: float, *, bridges: bool) -> list[Ribbon]:
    """The parts of a road outside a corridor; with `bridges` joined where it crosses steeply."""
    points = resample(road.line, step=5.0)
    inside = line.query(points, distance_upper_bound=reach + 2)[0] < reach + 1
    if not inside.any():
        return [road]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    for start, stop in edges.reshape(-1, 2) if bridges else ():
        if (stop - start) * 5.0 < 3.2 * reach + 10 and start > 0 and stop < len(points):
            inside[start:stop] = False
    runs = np.flatnonzero(np.diff(np.concatenate([[True], inside, [True]]).astype(int))).reshape(-1, 2)
    return [replace(road, line=points[a:b]) for a, b in runs if b - a >= 3]


def across(site: Site, rect: Rect, *, sway: float = 0.22) -> Points:
    """A gently curved line through the scene along `s`, on the ground."""
    rng = site.rng
    t = rng.uniform(-sway, sway, 5) * rect.depth
    return smooth_line(site.frame.ground(np.linspace(rect.s0, rect.s1, 5), t + sum(rect.middle[1:])))


def highway(site: Site, line: Points, *, kind: str = "highway", ground: str | None = None) -> float:
    """Two carriageways with a median, on a cleared strip; returns the distance of their middle lines.

    `ground` is the material of the strip: None draws one, "" leaves what is there.
    """
    rng = site.rng
    lanes = int(rng.choice([2, 3, 4]))
    width, median = lanes * 3.7 + 2.5, float(rng.uniform(3, 14)) if kind == "highway" else 2.0
    reach = width + median / 2 + rng.uniform(6, 14)
    clear(site.plan, line, reach=reach)
    strip = np.concatenate([offset(line, -reach), offset(line, reach)[::-1]])
    if ground is None:
        ground = str(rng.choice(["grass", "meadow", "soil"]))
    if ground:
        site.plan.area(strip, ground)
    shade = float(rng.random())
    for side in (-1, 1):
        lane_line = offset(line, side * (median + width) / 2)
        site.plan.ribbon(lane_line, kind, width=width, variant=shade)
        for k in range(lanes):
            points, angle = along(offset(lane_line, (k + 0.5) * 3.7 - lanes * 3.7 / 2), spacing=12.0)
            keep = rng.random(len(points)) < rng.uniform(0.05, 0.3)
            cars_at(site, points[keep, 0], points[keep, 1], angle[keep], trucks=0.12)
    return width + median


def interchange(site: Site, rect: Rect, *, ground: str) -> None:
    """Two highways that cross on different levels, with loops and slip roads between them."""
    rng, plan, frame = site.rng, site.plan, site.frame
    loop = float(rng.uniform(38, 70))
    middle = frame.ground(0.0, 0.0)
    clear(plan, middle, reach=3.4 * loop + 15, roads="remove")
    plan.area(blob((middle[0, 0], middle[0, 1]), rng, radius=3.7 * loop, rough=0.03, stretch=1.2), ground)
    first = len(plan.ribbons)
    below = highway(site, frame.line((rect.s0, 0.0), (rect.s1, 0.0)), ground=ground)
    above = highway(site, frame.line((0.0, rect.t0), (0.0, rect.t1)), kind="viaduct", ground="")
    highways = plan.ribbons[first:]
    del plan.ribbons[first:]
    _ramps(site, loop=loop, edges=(above / 2 + 2, below / 2 + 2))
    plan.ribbons.extend(highways)
    around = Rect(-2.4 * loop, -2.4 * loop, 2.4 * loop, 2.4 * loop)
    points = frame.ground(*around.scatter(rng, int(rng.integers(0, 150))))
    plants_at(site, points[:, 0], points[:, 1], size=(2, 6))
    plan.sign("interchange", middle)


def _ramps(site: Site, *, loop: float, edges: tuple[float, float]) -> None:
    """A loop and a slip road in each quarter of an interchange; `edges` is how far the roads reach
    along s and t."""
    phi = np.linspace(0, 1.5 * np.pi, 40)
    ring = np.stack([loop + loop * np.sin(phi), loop - loop * np.cos(phi)])
    slip = loop * np.array([(3.9, 0.0), (3.0, 0.35), (2.05, 2.05), (0.35, 3.0), (0.0, 3.9)]).T
    for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        for line in (ring, slip):
            points = site.frame.ground(a * (edges[0] + line[0]), b * (edges[1] + line[1]))
            site.plan.ribbon(smooth_line(points), "lane", width=6.5)


def railway(site: Site, line: Points, *, tracks: int, ground: str | None = None) -> None:
    """Parallel tracks on ballast; `ground` as for highways."""
    width = tracks * 4.7
    clear(site.plan, line, reach=width / 2 + 6)
    strip = np.concatenate([offset(line, -width / 2 - 7), offset(line, width / 2 + 7)[::-1]])
    if ground is None:
        ground = str(site.rng.choice(["soil", "meadow", "scrub"]))
    if ground:
        site.plan.area(strip, ground)
    site.plan.ribbon(line, "railway", width=width)


def roundabouts(site: Site, centres: Points, *, width: float) -> None:
    """Ring roads around green or paved islands, for streets `width` metres wide."""
    plan, rng = site.plan, site.rng
    if len(centres) == 0:
        return
    radius = width * rng.uniform(1.3, 2.4)
    clear(plan, centres, reach=radius + 4, roads="keep")
    for centre in centres:
        dot = np.array([centre, centre + np.array([0.01, 0.0])])
        plan.ribbon(dot, "circus", width=2 * radius)
        plan.ribbon(dot, str(rng.choice(["island", "paved island"])), width=2 * (radius - width * 0.7))
        if rng.random() < 0.5:
            inner = (radius - width * 0.7) * rng.uniform(0.4, 0.7)
            plan.ribbon(dot, str(rng.choice(["island", "paved island"])), width=2 * inner)
    plan.sign("roundabout", centres)


def crossings(frame: Frame, cuts: list[tuple[tuple[float, float], tuple[float, float]]]) -> Points:
    """Ground points where straight street lines meet, `(k, 2)`."""
    found = []
    for i, (p, q) in enumerate(cuts):
        for r, s in cuts[:i]:
            along_s = p[1] == q[1]
            if along_s == (r[1] == s[1]):
                continue
            at = (r[0], p[1]) if along_s else (p[0], r[1])
            lines = ((p, q), (r, s))
            if all(min(a[k], b[k]) - 1 <= at[k] <= max(a[k], b[k]) + 1 for a, b in lines for k in (0, 1)):
                found.append(at)
    return frame.ground(*np.array(found).T) if found else np.zeros((0, 2))
