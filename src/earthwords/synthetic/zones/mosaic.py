"""Large blocks of several zones between main roads, and the lines that cut through them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from earthwords.synthetic.zones.corridors import across, crossings, highway, railway, roundabouts
from earthwords.synthetic.zones.layout import Rect, offset, resample, split
from earthwords.synthetic.zones.open_ground import hedge
from earthwords.synthetic.zones.town import Site, street_cars

Fill = Callable[[Site, Rect], None]


def mosaic(
    site: Site, rect: Rect, zones: dict[Fill, float], *, size: float, road: str = "avenue", width: float = 14.0
) -> None:
    """Cut the ground into large blocks by main roads, and fill each by a zone drawn by weight.

    The block in the middle gets the first zone, so that small scenes show what they are called.
    """
    rng = site.rng
    blocks, cuts = split(rect, rng, size=size, widths=(width + 8, width + 6))
    fills, weights = list(zones), np.array(list(zones.values()))
    central = min(blocks, key=lambda b: np.hypot(*b.middle))
    for block in blocks:
        if site.visible(block):
            drawn = int(rng.choice(len(fills), p=weights / weights.sum()))
            fills[0 if block is central else drawn](site, block)
    for cut in reversed(cuts):
        line = site.frame.line(cut.p, cut.q)
        site.plan.ribbon(line, road, width=width)
        if road == "avenue":
            street_cars(site, line, width=width, spacing=60)
        if rng.random() < 0.4:
            for side in (-1, 1):
                hedge(site, offset(line, side * (width / 2 + 3.2)), spacing=rng.uniform(7, 12), size=(3, 7))
    if road == "avenue":
        centres = crossings(site.frame, [(c.p, c.q) for c in cuts])
        roundabouts(site, centres[rng.random(len(centres)) < 0.25], width=width)


def cut_through(site: Site, rect: Rect, *, share: float = 0.3) -> None:
    """Now and then a highway or a railway runs through a built-up scene."""
    if site.rng.random() > share or min(site.extent) < 200:
        return
    line = resample(across(site, rect, sway=0.12), step=8.0)
    if site.rng.random() < 0.6:
        highway(site, line)
    else:
        railway(site, line, tracks=int(site.rng.integers(1, 4)))
