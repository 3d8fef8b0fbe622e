"""Fills a rectangle with the perimeter blocks of an old European town: attached houses around courtyards."""

from __future__ import annotations

import numpy as np

from earthwords.synthetic.brushes import roofs
from earthwords.synthetic.zones.layout import Rect, split
from earthwords.synthetic.zones.open_ground import hedge
from earthwords.synthetic.zones.palette import Rows, pick
from earthwords.synthetic.zones.town import (
    Floats,
    Site,
    clutter,
    place,
    plants_at,
    roof_boxes,
    street_cars,
    streets,
    turned,
)

TILES: Rows = (
    ("9a5a45", "red", 0.28), ("a86a50", "red", 0.15), ("8a4e40", "red", 0.12), ("7d5547", "brown", 0.15),
    ("6a5a52", "brown", 0.08), ("5a585a", "grey", 0.12), ("6f6e70", "grey", 0.10),
)  # fmt: skip
TAR: Rows = (
    ("77767a", "grey", 0.25), ("8f8d8c", "grey", 0.25), ("5f6064", "grey", 0.18), ("a5a29d", "grey", 0.15),
    ("45464a", "black", 0.10), ("c0bdb7", "white", 0.07),
)  # fmt: skip
_YARDS = ("court", "court", "court", "court", "lot", "grass", "garden", "garden", "soil")


def old_town(site: Site, rect: Rect) -> None:
    """Streets and lanes between perimeter blocks, with street trees and parked cars."""
    rng = site.rng
    narrow = rng.random() < 0.4
    width = float(rng.uniform(4.0, 6.0) if narrow else rng.uniform(7.0, 12.0))
    size = float(rng.uniform(45, 70) if narrow else rng.uniform(65, 120))
    tiled, storeys = float(rng.choice([0.15, 0.5, 0.9])), int(rng.integers(2, 4) if narrow else rng.integers(3, 7))
    first = len(site.plan.ribbons)
    site.cover(rect, "paving")
    for block in streets(site, rect, kind="cobbled lane" if narrow else "town street", width=width, size=size):
        at, block = turned(site, block)
        if min(block.length, block.depth) > 24:
            draw = rng.random()
            if draw < 0.05:
                _square(at, block)
                continue
        _perimeter(at, block.inset(0.8), tiled=tiled, storeys=storeys, depth=float(rng.uniform(9, 14)))
    lined = not narrow and rng.random() < 0.6
    for road in site.plan.ribbons[first:]:
        street_cars(site, road.line, width=road.width, spacing=float(rng.uniform(9, 30)))
        if lined and rng.random() < 0.7:
            for side in (-1, 1):
                hedge(site, road.line + side * (road.width / 2 + 1.5), spacing=float(rng.uniform(8, 14)), size=(4, 9))


def _square(site: Site, block: Rect) -> None:
    """A public square or a small park."""
    rng = site.rng
    site.cover(block, str(rng.choice(["paving", "court", "lawn"])))
    x, y, _ = place(site, *block.inset(5).scatter(rng, int(rng.integers(4, 30))))
    plants_at(site, x, y, size=(4, 10))
    clutter(site, block, density=3.0)


def _perimeter(site: Site, block: Rect, *, tiled: float, storeys: int, depth: float) -> None:
    """Four closed rows of houses, and what stands in the yard behind them."""
    rng = site.rng
    if min(block.length, block.depth) < 2.4 * depth:
        site.cover(block, str(rng.choice(_YARDS)))
        _row(site, block.inset(0.5), tiled=tiled, storeys=storeys, across=False)
        return
    site.cover(block, "court")
    inner = block.inset(depth)
    long_sides = (block._replace(t1=block.t0 + depth), block._replace(t0=block.t1 - depth))
    short = block._replace(t0=block.t0 + depth, t1=block.t1 - depth)
    for part in long_sides:
        _row(site, part, tiled=tiled, storeys=storeys, across=False)
    for part in (short._replace(s1=block.s0 + depth), short._replace(s0=block.s1 - depth)):
        if rng.random() < 0.85:
            _row(site, part, tiled=tiled, storeys=storeys, across=True)
    _yard(site, inner, tiled=tiled, storeys=storeys)


def _row(site: Site, part: Rect, *, tiled: float, storeys: int, across: bool) -> None:
    """Attached houses along `s` (or along `t`, with `across`) that fill a strip; few lots are empty."""
    rng = site.rng
    length, deep = (part.depth, part.length) if across else (part.length, part.depth)
    if length < 5:
        return
    count = max(1, round(length / rng.uniform(11, 20)))
    edges = np.linspace(0, length, count + 1)
    edges[1:-1] += rng.uniform(-0.2, 0.2, count - 1) * length / count
    middle, size = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    back = rng.uniform(0, 0.12, count) * deep
    keep = rng.random(count) < 0.95
    s = np.full(count, part.middle[0]) if across else part.s0 + middle
    t = part.t0 + middle if across else np.full(count, part.middle[1])
    attached(site, s[keep], t[keep], size[keep], (deep - back)[keep], tiled=tiled, storeys=storeys, across=across)


def attached(
    site: Site, s: Floats, t: Floats, length: Floats, depth: Floats, *, tiled: float, storeys: int, across: bool
) -> None:  # fmt: skip
    """Houses with ridges along the street, or flat roofs with stair heads and chimneys."""
    rng, count = site.rng, len(s)
    if count == 0:
        return
    x, y, angle = place(site, s, t)
    angle = angle + (np.pi / 2 if across else 0.0)
    pitched = rng.random(count) < tiled
    tile, tile_names = pick(rng, TILES, count, spread=0.14)
    tar, tar_names = pick(rng, TAR, count, spread=0.14)
    colours = np.where(pitched[:, None], tile, tar)
    height = 3.3 * np.maximum(storeys + rng.choice([-1, 0, 0, 0, 1], count), 1)
    things = site.plan.new_things(count)
    site.plan.stamp(
        "roof", x=x, y=y, length=length + 0.1, width=depth, angle=angle, height=height, colour=colours,
        style=np.where(pitched, roofs.GABLE, roofs.FLAT), thing=things, key=rng.random(count),
    )  # fmt: skip
    for k, thing in enumerate(things.tolist()):
        site.plan.facts[thing] = {"colour": tile_names[k] if pitched[k] else tar_names[k]}
    roof_boxes(site, x, y, angle, length, depth, height, colours, things, share=0.6, per_roof=3, size=1.8)


def _yard(site: Site, inner: Rect, *, tiled: float, storeys: int) -> None:
    """A courtyard: parts with ground of their own, rear wings, trees, bicycles and sheds."""
    rng = site.rng
    parts, _ = split(inner, rng, size=float(rng.uniform(14, 40)), widths=(0.0,))
    for part in parts:
        site.cover(part, str(rng.choice(_YARDS)))
        draw = rng.random()
        if draw < 0.35 and min(part.length, part.depth) > 8:
            _wing(site, part, tiled=tiled, storeys=storeys)
        elif draw < 0.85:
            x, y, _ = place(site, *part.inset(1.5).scatter(rng, int(rng.integers(1, 5))))
            plants_at(site, x, y, size=(3, 9))
    clutter(site, inner, density=6.0)


def _wing(site: Site, part: Rect, *, tiled: float, storeys: int) -> None:
    """A rear building along one side of its part of the yard."""
    rng = site.rng
    deep = float(np.clip(part.depth * rng.uniform(0.35, 0.6), 4, 11))
    strip = part._replace(t1=part.t0 + deep) if rng.random() < 0.5 else part._replace(t0=part.t1 - deep)
    one = np.array([strip.middle[0]])
    attached(
        site, one, np.array([strip.middle[1]]), np.array([strip.length - 0.4]), np.array([deep]),
        tiled=0.3 * tiled, storeys=int(rng.integers(1, storeys + 1)), across=False,
    )  # fmt: skip
