"""Fills open ground: parcels of fields, forests, parks, deserts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from earthwords.synthetic.plan import Points
from earthwords.synthetic.zones.layout import Rect, along, blob, split
from earthwords.synthetic.zones.town import (
    Site,
    driveways,
    gardens,
    houses,
    lot_trees,
    lots_of,
    plants_at,
    sheds,
    turned,
)


def forest_in(site: Site, outline: Points, *, spacing: float, conifers: float, floor: bool = True) -> None:
    """Dense crowns inside an outline; they stand only where the ground is forest floor."""
    rng = site.rng
    if floor:
        site.plan.area(outline, "floor")
    low, high = outline.min(axis=0) - 2, outline.max(axis=0) + 2
    gap = max(spacing, 1.2 * site.coarse)
    s, t = Rect(low[0], low[1], high[0], high[1]).lattice(rng, spacing=gap, jitter=0.55)
    keep = _inside(outline, np.stack([s, t], axis=1))
    plants_at(site, s[keep], t[keep], size=(gap * 0.9, gap * 1.9), conifers=conifers, kind="wood")


def _inside(outline: Points, points: Points) -> np.ndarray:
    """Even-odd rule, for many points, by a crossing count in horizontal bands."""
    inside = np.zeros(len(points), dtype=bool)
    order = np.argsort(points[:, 1])
    y = points[order, 1]
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        a, b = np.searchsorted(y, sorted((y0, y1)))
        at = order[a:b]
        crossing = x0 + (points[at, 1] - y0) / (y1 - y0) * (x1 - x0)
        inside[at] ^= points[at, 0] < crossing
    return inside


def forest(site: Site, rect: Rect) -> None:
    """Woodland that covers the rectangle."""
    forest_in(
        site, rect.outline(site.frame), spacing=site.rng.uniform(3.2, 6.5), conifers=site.rng.choice([0.05, 0.3, 0.85])
    )


def grove(site: Site, centre: Points, *, radius: float) -> None:
    """A wood with a natural outline."""
    outline = blob((float(centre[0]), float(centre[1])), site.rng, radius=radius, rough=0.08)
    forest_in(site, outline, spacing=site.rng.uniform(3.5, 6), conifers=site.rng.choice([0.05, 0.4]))


def hedge(site: Site, line: Points, *, spacing: float = 5.0, size: tuple[float, float] = (3.0, 8.0)) -> None:
    """A row of trees along a line, with gaps."""
    points, _ = along(line, spacing=spacing)
    keep = site.rng.random(len(points)) < 0.8
    points = points + site.rng.normal(0, 0.8, points.shape)
    plants_at(site, points[keep, 0], points[keep, 1], size=size)


def fields(site: Site, rect: Rect) -> None:
    """Parcels with rows, tracks between some of them, hedges, a farm, small woods."""
    rng = site.rng
    size = rng.choice([60.0, 110.0, 180.0])
    parcels, cuts = split(rect, rng, size=size, widths=(5.0, 4.0, 0.0))
    main = float(rng.random())
    for parcel in parcels:
        _parcel(site, parcel, main=main)
    for k, cut in enumerate(reversed(cuts)):
        if cut.width == 0:
            continue
        line = site.frame.line(cut.p, cut.q)
        site.plan.ribbon(
            line, "track" if rng.random() < 0.75 else "country road", width=cut.width * rng.uniform(0.6, 1.0)
        )
        if k % 3 == 0 and rng.random() < 0.6:
            hedge(site, line + rng.normal(0, 4, 2))


def _parcel(site: Site, parcel: Rect, *, main: float) -> None:
    """One or several strips of the same direction, each with its crop."""
    rng = site.rng
    draw = rng.random()
    outline = parcel.outline(site.frame)
    if draw < 0.05:
        forest_in(site, outline, spacing=4.5, conifers=0.2)
        return
    if draw < 0.12:
        site.plan.area(outline, "meadow")
        s, t = parcel.inset(5).scatter(rng, 6)
        ground = site.frame.ground(s, t)
        plants_at(site, ground[:, 0], ground[:, 1], size=(3, 9))
        return
    if draw < 0.17:
        farm(site, parcel)
        return
    strips = int(rng.choice([1, 1, 2, 4, 8]))
    along_s = (parcel.length > parcel.depth) == (rng.random() < 0.8)
    angle = float(site.frame.angle_at(*[np.array([m]) for m in parcel.middle])[0])
    edges = np.linspace(0, 1, strips + 1)
    edges[1:-1] += rng.uniform(-0.3, 0.3, strips - 1) / strips
    for a, b in pairwise(edges):
        if along_s:
            strip = parcel._replace(t0=parcel.t0 + a * parcel.depth, t1=parcel.t0 + b * parcel.depth)
        else:
            strip = parcel._replace(s0=parcel.s0 + a * parcel.length, s1=parcel.s0 + b * parcel.length)
        site.cover(strip, "crop",
            variant=(main + rng.normal(0, 0.25)) % 1.0,
            rows_angle=angle + (0.0 if along_s else np.pi / 2),
            rows_spacing=float(rng.choice([1.5, 3.0, 6.0, 12.0])), rows_depth=float(rng.uniform(0.03, 0.13)),
        )  # fmt: skip


def farm(site: Site, rect: Rect) -> None:
    """A farmyard with a few buildings among trees."""
    rng = site.rng
    site.cover(rect, "crop")
    at, block = turned(site, rect)
    cs, ct = block.middle
    yard = Rect(cs - 28, ct - 24, cs + 28, ct + 24)
    at.cover(yard.inset(-4), "grass")
    at.cover(yard.inset(5), "yard")
    lots = lots_of(yard, rng, width=24)
    houses(at, lots, size=(9, 20), setback=4)
    sheds(at, lots, share=0.6)
    lot_trees(at, lots, per_lot=3)


def village(site: Site, rect: Rect) -> None:
    """Two rows of houses along a lane."""
    at, block = turned(site, rect)
    rng = site.rng
    middle = block.middle[1]
    site.cover(rect, "grass")
    for t0, t1 in ((middle - 58, middle - 4), (middle + 4, middle + 58)):
        lots = lots_of(Rect(block.s0, t0, block.s1, t1), rng, width=rng.uniform(18, 30))
        gardens(at, lots, materials=("garden", "grass", "yard", "lawn"))
        driveways(at, lots, length=8)
        houses(at, lots, size=(9, 15), setback=5)
        sheds(at, lots, share=0.5)
        lot_trees(at, lots, per_lot=3)
    at.plan.ribbon(at.frame.line((block.s0, middle), (block.s1, middle)), "street", width=6)


def desert(site: Site, rect: Rect) -> None:
    """Sand with scrub and tracks."""
    rng = site.rng
    site.cover(rect, "sand")
    for _ in range(rng.integers(1, 4)):
        s, t = rect.scatter(rng, 1)
        ground = site.frame.ground(s, t)[0]
        outline = blob((ground[0], ground[1]), rng, radius=rng.uniform(20, 90), rough=0.12)
        site.plan.area(outline, str(rng.choice(["scrub", "soil", "sand"])))
    count = int(rect.length * rect.depth / rng.choice([120, 400, 2000]))
    s, t = rect.scatter(rng, count)
    ground = site.frame.ground(s, t)
    plants_at(site, ground[:, 0], ground[:, 1], size=(0.9, 3.2), conifers=0)
