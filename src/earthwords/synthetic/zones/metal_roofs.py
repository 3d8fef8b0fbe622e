"""Fills a rectangle with an informal settlement or a tropical village: small metal and thatched roofs, earth lanes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from earthwords.synthetic.brushes import roofs
from earthwords.synthetic.zones.layout import Frame, Rect, blob, offset, resample, smooth_line, split, wiggle
from earthwords.synthetic.zones.open_ground import forest_in, grove
from earthwords.synthetic.zones.palette import Rows, pick
from earthwords.synthetic.zones.town import Floats, Site, cars_at, clutter, place, plants_at

METAL: Rows = (
    ("b9bcbc", "grey", 0.22), ("cfd2d2", "white", 0.16), ("8f9190", "grey", 0.18), ("8a5a42", "brown", 0.13),
    ("a06a4c", "brown", 0.08), ("6f4a3a", "brown", 0.06), ("4f86b0", "blue", 0.05), ("9c4a44", "red", 0.05),
    ("5f8a70", "green", 0.03), ("e2e4e4", "white", 0.04),
)  # fmt: skip
PAINTED: Rows = (
    ("cfd2d2", "white", 0.18), ("b9bcbc", "grey", 0.18), ("5fb0dc", "blue", 0.14), ("3f90c0", "blue", 0.08),
    ("a04a4c", "red", 0.12), ("4a8a80", "green", 0.05), ("8a5a48", "brown", 0.10), ("8f9190", "grey", 0.10),
    ("e6e8e8", "white", 0.05),
)  # fmt: skip
STRAW: Rows = (("8a7a60", "brown", 0.4), ("a09072", "brown", 0.3), ("6f6450", "brown", 0.3))
_SLABS: Rows = (("a8a49c", "grey", 0.5), ("8b8884", "grey", 0.3), ("b8b0a4", "grey", 0.2))


def huts(
    site: Site, x: Floats, y: Floats, angle: Floats, length: Floats, width: Floats, *, rows: Rows, thatch: float = 0.0
) -> None:
    """One small house per point; few of them have a concrete roof, two storeys or a lean-to."""
    rng, count = site.rng, len(x)
    if count == 0:
        return
    draw = rng.random(count)
    styles = np.where(rng.random(count) < 0.7, roofs.SHEET, roofs.LEAN_TO)
    styles = np.where(draw < thatch, roofs.THATCH, np.where(draw > 0.95, roofs.FLAT, styles))
    metal, metal_names = pick(rng, rows, count, spread=0.18)
    straw, straw_names = pick(rng, STRAW, count, spread=0.12)
    slab, slab_names = pick(rng, _SLABS, count)
    is_straw, is_slab = styles == roofs.THATCH, styles == roofs.FLAT
    colours = np.where(is_straw[:, None], straw, np.where(is_slab[:, None], slab, metal))
    height = np.where(rng.random(count) < 0.06, 5.2, rng.uniform(2.2, 3.0, count))
    things = site.plan.new_things(count)
    swap = length < width
    key = rng.random(count)
    site.plan.stamp(
        "roof", x=x, y=y, length=np.where(swap, width, length), width=np.where(swap, length, width),
        angle=angle + np.where(swap, np.pi / 2, 0.0), height=height, colour=colours, style=styles, thing=things,
        key=key,
    )  # fmt: skip
    for k, thing in enumerate(things.tolist()):
        rusty = not is_straw[k] and not is_slab[k] and (key[k] * 7.7) % 1.0 > 0.8
        name = straw_names[k] if is_straw[k] else slab_names[k] if is_slab[k] else metal_names[k]
        site.plan.facts[thing] = {"colour": "brown" if rusty else name, "kind": "house"}


def informal(site: Site, rect: Rect) -> None:
    """Dense huts between narrow lanes of earth; wider tracks and few paved roads."""
    rng = site.rng
    rows = METAL if site.region.name != "pacific islands" else PAINTED
    site.cover(rect, "trodden", variant=0.5)
    size, hut = float(rng.uniform(35, 80)), float(rng.uniform(5.0, 9.5))
    gap, yards, green = float(rng.uniform(0.0, 0.9)), float(rng.uniform(0.04, 0.25)), float(rng.choice([0.0, 0.3, 1.0]))
    blocks, cuts = split(rect, rng, size=size, widths=(7.0, 5.0, 3.6, 2.6))
    for cut in reversed(cuts):
        line = site.frame.line(cut.p, cut.q, step=10.0)
        line = resample(line, step=12.0)
        line = smooth_line(line + rng.normal(0, 0.12 * cut.width, line.shape), step=5.0)
        paved = cut.width > 6 and rng.random() < 0.4
        site.plan.ribbon(line, "lane" if paved else "earth lane", width=cut.width * 0.85)
        if cut.width > 4 and rng.random() < 0.6:
            at = line[:: max(2, int(rng.integers(4, 14)))]
            cars_at(site, at[:, 0], at[:, 1], rng.uniform(0, 6.28, len(at)), trucks=0.1)
    for block in blocks:
        if site.visible(block):
            _crowded(site, block, hut=hut, gap=gap, yards=yards, green=green, rows=rows)


def _crowded(site: Site, block: Rect, *, hut: float, gap: float, yards: float, green: float, rows: Rows) -> None:
    """Cut a block into huts; some lots stay yards with a tree or things lying about."""
    rng = site.rng
    ground = site.frame.ground(*block.middle)[0]
    angle = float(site.frame.angle_at(*[np.array([m]) for m in block.middle])[0]) + float(rng.normal(0, 0.12))
    site = replace(site, frame=Frame(angle=angle, centre=(float(ground[0]), float(ground[1]))))
    block = Rect(-block.length / 2, -block.depth / 2, block.length / 2, block.depth / 2)
    if rng.random() < 0.3:
        site.cover(block.inset(-0.5), str(rng.choice(["yard", "trodden", "soil"])))
    lots, _ = split(block.inset(0.4), rng, size=hut * float(rng.uniform(0.8, 1.3)), widths=(1.6, gap, gap, gap / 2))
    table = np.array(lots)
    middle, sides = (table[:, :2] + table[:, 2:]) / 2, table[:, 2:] - table[:, :2]
    big = np.minimum(sides[:, 0], sides[:, 1]) > 2.2
    empty = rng.random(len(table)) < yards
    x, y, turn = place(site, middle[:, 0], middle[:, 1])
    built = big & ~empty
    shrink = rng.uniform(0.86, 1.04, (len(table), 2))
    turn = turn + rng.normal(0, 0.06, len(table))
    huts(
        site, x[built], y[built], turn[built], (sides * shrink)[built, 0], (sides * shrink)[built, 1],
        rows=rows,
    )  # fmt: skip
    trees = empty & (rng.random(len(table)) < 0.25 + 0.6 * green)
    plants_at(site, x[trees], y[trees], size=(2.5, 7), palms=0.2)
    clutter(site, block, density=18.0, size=(0.4, 1.8))


def tropical(site: Site, rect: Rect) -> None:
    """Houses loosely along winding earth roads, under palms and fruit trees, between plots."""
    rng = site.rng
    site.cover(rect, str(rng.choice(["meadow", "grass", "garden"])))
    _plots(site, rect)
    roads = [_winding(site, rect, turn=float(k % 2), width=float(rng.uniform(2.4, 5.0))) for k in range(4)]
    thatch = float(rng.choice([0.0, 0.15, 0.6]))
    rows = PAINTED if site.region.name == "pacific islands" else METAL
    spacing = float(rng.uniform(11, 40))
    for line in roads:
        for side in (-1, 1):
            _homesteads(site, line, side=side, spacing=spacing, thatch=thatch, rows=rows)
    s, t = rect.lattice(rng, spacing=float(rng.uniform(6, 12)), jitter=0.6)
    x, y, _ = place(site, s, t)
    keep = rng.random(len(x)) < rng.uniform(0.2, 0.7)
    plants_at(site, x[keep], y[keep], size=(3, 10), conifers=0.0, palms=float(rng.choice([0.2, 0.5, 0.8])))


def _plots(site: Site, rect: Rect) -> None:
    """Gardens, bare plots, orchards in rows and thickets below the trees."""
    rng = site.rng
    parts, _ = split(rect, rng, size=float(rng.uniform(45, 90)), widths=(0.0,))
    for part in parts:
        if not site.visible(part):
            continue
        s, t = part.middle
        ground = site.frame.ground(s, t)[0]
        outline = blob((float(ground[0]), float(ground[1])), rng, radius=0.5 * min(part.length, part.depth), rough=0.06)
        draw = rng.random()
        if draw < 0.22:
            site.cover(
                part, "crop", rows_angle=float(rng.uniform(0, 3.1)), rows_spacing=float(rng.choice([1.0, 1.6])),
                rows_depth=float(rng.uniform(0.06, 0.16)),
            )  # fmt: skip
        elif draw < 0.36:
            site.plan.area(outline, str(rng.choice(["trodden", "soil", "trodden"])))
        elif draw < 0.52:
            forest_in(site, outline, spacing=float(rng.uniform(4, 7)), conifers=0.0)
        elif draw < 0.64:
            x, y, _ = place(site, *part.inset(3).lattice(rng, spacing=float(rng.uniform(7, 11)), jitter=0.12))
            plants_at(site, x, y, size=(4.5, 7.5), conifers=0.0)
        elif draw < 0.72:
            grove(site, ground, radius=0.4 * min(part.length, part.depth))


def _winding(site: Site, rect: Rect, *, turn: float, width: float) -> Floats:
    """An earth road through the scene, across or along it; its ribbon is added to the plan."""
    rng = site.rng
    half = min(min(site.extent) * 0.45, 260.0)
    run = np.linspace(rect.s0, rect.s1, 9)
    sway = rng.uniform(-half, half) + rng.normal(0, 22, 9)
    points = site.frame.ground(run, sway) if turn < 0.5 else site.frame.ground(sway, run)
    line = wiggle(smooth_line(points, step=14.0), rng, rough=0.04, detail=max(3.0, site.coarse))
    site.plan.ribbon(line, "earth lane" if rng.random() < 0.85 else "lane", width=width)
    return resample(line, step=6.0)


def _homesteads(site: Site, line: Floats, *, side: int, spacing: float, thatch: float, rows: Rows) -> None:
    """Houses with trodden yards at one side of a road, at uneven distances."""
    rng = site.rng
    beside = offset(line, side * rng.uniform(9, 16))
    step = np.hypot(*np.diff(beside, axis=0).T)
    run = np.concatenate([[0], np.cumsum(step)])
    at = np.cumsum(rng.exponential(spacing, int(run[-1] / spacing) + 2) + 8)
    at = at[at < run[-1]]
    x, y = np.interp(at, run, beside[:, 0]), np.interp(at, run, beside[:, 1])
    count = len(x)
    x, y = x + rng.normal(0, 2.5, count), y + rng.normal(0, 2.5, count)
    for px, py in zip(x.tolist(), y.tolist(), strict=True):
        if rng.random() < 0.55 and -30 < px < site.extent[0] + 30 and -30 < py < site.extent[1] + 30:
            outline = blob((px, py), rng, radius=float(rng.uniform(5, 10)), rough=0.08)
            site.plan.area(outline, str(rng.choice(["trodden", "yard", "soil"])))
    length, width = rng.uniform(7, 15, count), rng.uniform(5, 8.5, count)
    slope = np.interp(at, run[1:], np.unwrap(np.arctan2(*np.diff(beside, axis=0).T[::-1])))
    turned = slope + rng.normal(0, 0.15, count)
    huts(site, x, y, turned, length, width, rows=rows, thatch=thatch)
    extra = rng.random(count) < 0.5
    huts(
        site, x[extra] + rng.normal(0, 9, extra.sum()), y[extra] + rng.normal(0, 9, extra.sum()),
        rng.uniform(0, 3.1, extra.sum()), rng.uniform(3, 6, extra.sum()), rng.uniform(3, 4.5, extra.sum()),
        rows=rows, thatch=thatch,
    )  # fmt: skip
