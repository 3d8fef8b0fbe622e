"""Fills a rectangle with a North American city: a grid of streets, flat roofs in rows, parks, and a waterfront."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from earthwords.synthetic.brushes import roofs
from earthwords.synthetic.zones.layout import Rect, offset
from earthwords.synthetic.zones.open_ground import forest_in, hedge
from earthwords.synthetic.zones.palette import Rows, pick
from earthwords.synthetic.zones.town import Site, cars_at, clutter, place, plants_at, roof_boxes, street_cars
from earthwords.synthetic.zones.transport import sea_traffic

FLAT_ROOFS: Rows = (
    ("c9c8c4", "white", 0.16), ("dedcd8", "white", 0.10), ("a8a6a2", "grey", 0.20), ("8c8a88", "grey", 0.18),
    ("6c6b6b", "grey", 0.14), ("4c4b4c", "black", 0.12), ("96826f", "brown", 0.06), ("7f5c4e", "brown", 0.04),
)  # fmt: skip


def grid_city(site: Site, rect: Rect) -> None:
    """Blocks of one size between streets and avenues; some are parks, playgrounds or car parks."""
    rng = site.rng
    length, depth = float(rng.choice([95.0, 180.0, 240.0])), float(rng.uniform(48, 70))
    street, avenue = float(rng.uniform(9, 14)), float(rng.uniform(14, 24))
    site.cover(rect, "paving", variant=0.3)
    s_edges = np.arange(rect.s0 - rng.uniform(0, length), rect.s1 + length, length + avenue + 8)
    t_edges = np.arange(rect.t0 - rng.uniform(0, depth), rect.t1 + depth, depth + street + 7)
    first = len(site.plan.ribbons)
    for t in t_edges[1:]:
        if rect.t0 < t < rect.t1:
            line = site.frame.line((rect.s0, t), (rect.s1, t))
            site.plan.ribbon(line, "town street", width=street, variant=0.5)
    for s in s_edges[1:]:
        line = site.frame.line((s, rect.t0), (s, rect.t1))
        site.plan.ribbon(line, "avenue", width=avenue, variant=0.5)
    for road in site.plan.ribbons[first:]:
        street_cars(site, road.line, width=road.width, spacing=float(rng.uniform(8, 20)))
        if rng.random() < 0.6:
            for side in (-1, 1):
                hedge(site, offset(road.line, side * (road.width / 2 + 2)), spacing=float(rng.uniform(9, 22)))
    low = bool(rng.random() < 0.6)
    for s0, s1 in pairwise(s_edges):
        for t0, t1 in pairwise(t_edges):
            half_s, half_t = avenue / 2 + 4, street / 2 + 3.5
            block = Rect(s0 + half_s, t0 + half_t, s1 - half_s, min(t1 - half_t, rect.t1))
            if block.depth > 20 and site.visible(block):
                _block(site, block, low=low)


def _block(site: Site, block: Rect, *, low: bool) -> None:
    draw = site.rng.random()
    if draw < 0.07:
        green(site, block)
    elif draw < 0.12:
        _car_park(site, block)
    elif draw < 0.28:
        _large(site, block)
    else:
        _rows(site, block, low=low)


def green(site: Site, block: Rect) -> None:
    """A park with paths under trees."""
    rng = site.rng
    site.cover(block, str(rng.choice(["lawn", "grass", "garden"])))
    if rng.random() < 0.5:
        forest_in(
            site, block.inset(6).outline(site.frame), spacing=float(rng.uniform(6, 9)), conifers=0.02, floor=False
        )
    s, t = block.inset(4).lattice(rng, spacing=float(rng.uniform(8, 16)), jitter=0.5)
    x, y, _ = place(site, s, t)
    plants_at(site, x, y, size=(5, 12), conifers=0.02)
    corners = [(block.s0, block.t0), (block.s1, block.t1)], [(block.s0, block.t1), (block.s1, block.t0)]
    for p, q in corners:
        site.plan.ribbon(site.frame.line(p, q), "path", width=float(rng.uniform(2, 4)))


def _car_park(site: Site, block: Rect) -> None:
    rng = site.rng
    across = float(site.frame.angle_at(*[np.array([m]) for m in block.middle])[0]) + np.pi / 2
    site.cover(block, "lot", rows_form="paint", rows_spacing=2.6, rows_depth=0.5, rows_angle=across)
    s, t = np.meshgrid(np.arange(block.s0 + 3, block.s1 - 2, 2.6), np.arange(block.t0 + 4, block.t1 - 3, 8.5))
    keep = rng.random(s.size) < rng.uniform(0.2, 0.8)
    x, y, angle = place(site, s.ravel()[keep], t.ravel()[keep])
    cars_at(site, x, y, angle + np.pi / 2)


def _large(site: Site, block: Rect) -> None:
    """Warehouses, schools and towers that fill a part of the block each."""
    rng = site.rng
    site.cover(block, str(rng.choice(["lot", "court", "concrete"])))
    count = max(1, round(block.length / rng.uniform(30, 75)))
    edges = np.linspace(block.s0, block.s1, count + 1)
    tall = rng.random(count) < 0.25
    middle, size = (edges[1:] + edges[:-1]) / 2, np.diff(edges) * rng.uniform(0.7, 0.98, count)
    deep = block.depth * rng.uniform(0.6, 0.97, count)
    _stand(site, middle, np.full(count, block.middle[1]), size, deep,
           height=np.where(tall, rng.uniform(25, 70, count), rng.uniform(5, 16, count)), boxes=6)  # fmt: skip


def _rows(site: Site, block: Rect, *, low: bool) -> None:
    """Two rows of attached houses back to back, with yards between them."""
    rng = site.rng
    site.cover(block, str(rng.choice(["court", "garden", "grass", "concrete", "court"])))
    front = float(rng.choice([7.0, 11.0, 18.0]))
    deep = block.depth * float(rng.uniform(0.28, 0.42))
    for t0 in (block.t0, block.t1 - deep):
        count = max(1, round(block.length / front))
        edges = np.linspace(block.s0, block.s1, count + 1)
        depth = deep * rng.uniform(0.75, 1.0, count)
        t = t0 + depth / 2 if t0 == block.t0 else block.t1 - depth / 2
        keep = rng.random(count) < 0.95
        storeys = rng.choice([2, 3, 3, 4] if low else [4, 5, 5, 6, 8, 12], count)
        _stand(site, ((edges[1:] + edges[:-1]) / 2)[keep], t[keep], np.diff(edges)[keep] + 0.1, depth[keep],
               height=(3.2 * storeys)[keep], boxes=2)  # fmt: skip
    yard = block._replace(t0=block.t0 + deep, t1=block.t1 - deep)
    x, y, _ = place(site, *yard.scatter(rng, int(block.length / rng.choice([6.0, 12.0, 30.0]))))
    plants_at(site, x, y, size=(3, 10), conifers=0.02)
    clutter(site, yard, density=4.0)


def _stand(
    site: Site, s: np.ndarray, t: np.ndarray, length: np.ndarray, depth: np.ndarray, *, height: np.ndarray, boxes: int
) -> None:
    """Flat-roofed buildings with bulkheads and machines."""
    rng, count = site.rng, len(s)
    if count == 0:
        return
    x, y, angle = place(site, s, t)
    colours, names = pick(rng, FLAT_ROOFS, count, spread=0.16)
    things = site.plan.new_things(count)
    site.plan.stamp(
        "roof", x=x, y=y, length=length, width=depth, angle=angle, height=height, colour=colours, style=roofs.FLAT,
        thing=things,
    )  # fmt: skip
    for thing, name, tall in zip(things.tolist(), names, (height > 24).tolist(), strict=True):
        site.plan.facts[thing] = {"colour": name} | ({"kind": "tower"} if tall else {})
    roof_boxes(site, x, y, angle, length, depth, height, colours, things, share=0.7, per_roof=boxes, size=2.6)


def waterfront(site: Site, rect: Rect, *, shore: float) -> None:
    """Dark water beyond `t = shore`, a quay, and piers with and without halls on them."""
    rng = site.rng
    quay = Rect(rect.s0, shore - 18, rect.s1, shore)
    site.cover(quay, "concrete")
    site.cover(Rect(rect.s0, shore, rect.s1, rect.t1), "water")
    site.plan.banks, site.plan.shelf = False, 2.0
    site.plan.ribbon(site.frame.line((rect.s0, shore - 24), (rect.s1, shore - 24)), "avenue", width=16.0)
    s = rect.s0 + float(rng.uniform(0, 60))
    while s < rect.s1:
        width, length = float(rng.uniform(14, 34)), float(rng.uniform(60, 220))
        pier = Rect(s, shore - 1, s + width, shore + length)
        if site.visible(pier):
            site.cover(pier, "concrete")
            if rng.random() < 0.6:
                _stand(site, np.array([pier.middle[0]]), np.array([pier.middle[1]]), np.array([width - 5]),
                       np.array([length - 12]), height=np.array([9.0]), boxes=4)  # fmt: skip
        s += width + float(rng.uniform(30, 140))
    sea_traffic(site, Rect(rect.s0, shore + 40, rect.s1, rect.t1), count=int(rng.integers(0, 5)))
