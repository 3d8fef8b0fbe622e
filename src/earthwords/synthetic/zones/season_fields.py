"""Fills a rectangle with arable land between harvest and spring: ploughed, stubble, young crops, pivots."""

from __future__ import annotations

import numpy as np

from earthwords.synthetic.zones.layout import Rect, offset, resample, smooth_line, split
from earthwords.synthetic.zones.open_ground import farm, forest_in, grove, hedge
from earthwords.synthetic.zones.town import Site, plants_at

_MIXES = {
    "spring": {"ploughed": 0.35, "young crop": 0.4, "stubble": 0.1, "crop": 0.12, "meadow": 0.03},
    "autumn": {"ploughed": 0.5, "stubble": 0.35, "young crop": 0.1, "meadow": 0.05},
    "late summer": {"stubble": 0.6, "ploughed": 0.2, "crop": 0.15, "meadow": 0.05},
    "mixed": {"ploughed": 0.25, "stubble": 0.25, "young crop": 0.2, "crop": 0.2, "meadow": 0.1},
}


def bare_fields(site: Site, rect: Rect) -> None:
    """Parcels of one season, with rows, tracks, ditches, lone trees; some are irrigated in circles."""
    rng = site.rng
    names = list(_MIXES)
    mix = _MIXES[names[int(rng.integers(len(names)))]]
    pivots = rng.random() < 0.25
    size = float(rng.choice([420.0, 800.0]) if pivots else rng.choice([70.0, 140.0, 260.0, 420.0]))
    size = min(size, 0.6 * max(site.extent) + 40)
    parcels, cuts = split(rect, rng, size=size, widths=(7.0, 5.0, 0.0 if rng.random() < 0.5 else 1.0))
    main = float(rng.random())
    for parcel in parcels:
        if site.visible(parcel):
            _parcel(site, parcel, mix=mix, main=main, pivots=pivots)
    for cut in reversed(cuts):
        if cut.width > 2:
            line = site.frame.line(cut.p, cut.q)
            kind = str(rng.choice(["farm track", "farm track", "track", "country road"]))
            site.plan.ribbon(line, kind, width=cut.width * float(rng.uniform(0.5, 0.9)))
            if rng.random() < 0.3:
                hedge(site, offset(line, 6.0), spacing=float(rng.uniform(5, 20)), size=(3, 9))


def _material(site: Site, mix: dict[str, float]) -> str:
    weights = np.array(list(mix.values()))
    return str(site.rng.choice(list(mix), p=weights / weights.sum()))


def _parcel(site: Site, parcel: Rect, *, mix: dict[str, float], main: float, pivots: bool) -> None:
    rng = site.rng
    draw = rng.random()
    if draw < 0.04:
        farm(site, parcel)
        return
    if draw < 0.11:
        forest_in(site, parcel.inset(4).outline(site.frame), spacing=float(rng.uniform(4, 7)), conifers=0.1)
        return
    angle = float(site.frame.angle_at(*[np.array([m]) for m in parcel.middle])[0]) + float(rng.choice([0, np.pi / 2]))
    site.cover(parcel, _material(site, mix), **_rows(site, angle), variant=(main + rng.normal(0, 0.2)) % 1.0)
    if pivots and min(parcel.length, parcel.depth) > 150 and rng.random() < 0.85:
        _pivot(site, parcel, mix)
    elif rng.random() < 0.25:
        _waterway(site, parcel)
    draw = rng.random()
    s, t = parcel.inset(8).scatter(rng, int(rng.integers(1, 4)))
    ground = site.frame.ground(s, t)
    if draw < 0.15:
        plants_at(site, ground[:, 0], ground[:, 1], size=(5, 12))
    elif draw < 0.25 and min(parcel.length, parcel.depth) > 100:
        grove(site, ground[0], radius=float(rng.uniform(8, 30)))


def _rows(site: Site, angle: float) -> dict[str, float]:
    """Traces of the machines."""
    rng = site.rng
    return {
        "rows_angle": angle,
        "rows_spacing": float(rng.choice([0.8, 1.5, 3.0, 9.0, 18.0, 27.0])),
        "rows_depth": float(rng.uniform(0.03, 0.14)),
    }


def _pivot(site: Site, parcel: Rect, mix: dict[str, float]) -> None:
    """A circle under a turning sprinkler, or sectors of it with different crops."""
    rng = site.rng
    cs, ct = parcel.middle
    radius = 0.49 * min(parcel.length, parcel.depth)
    centre = site.frame.ground(cs, ct)[0]
    start, wedges = float(rng.uniform(0, 6.28)), int(rng.choice([1, 1, 2, 4]))
    for k in range(wedges):
        phi = start + 2 * np.pi * (k + np.linspace(0, 1, 90 // wedges + 2)) / wedges
        ring = np.stack([np.cos(phi), np.sin(phi)], axis=1) * radius + centre
        outline = ring if wedges == 1 else np.concatenate([ring, centre[None]])
        site.plan.area(outline, _material(site, mix | {"crop": 0.5}), **_rows(site, float(rng.uniform(0, 3.1))))


def _waterway(site: Site, parcel: Rect) -> None:
    """A grassed or damp strip that winds through a field."""
    rng = site.rng
    s = np.linspace(parcel.s0, parcel.s1, 6)
    t = parcel.middle[1] + rng.normal(0, 0.15 * parcel.depth, 6)
    line = resample(smooth_line(site.frame.ground(s, np.clip(t, parcel.t0 + 4, parcel.t1 - 4))), step=5.0)
    half = rng.uniform(1.5, 6) * (1 + 0.4 * np.sin(np.arange(len(line)) / 7))
    material = str(rng.choice(["meadow", "grass", "ploughed"]))
    site.plan.area(np.concatenate([offset(line, -half), offset(line, half)[::-1]]), material)
