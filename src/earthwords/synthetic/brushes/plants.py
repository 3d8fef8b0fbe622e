"""Trees, palms and shrubs: ragged domes, lit on the sunny side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes.brush import BrushInput, Stroke
from earthwords.synthetic.conditions import ImagingConditions
from earthwords.synthetic.materials import linear
from earthwords.synthetic.plan import Stamps

BROADLEAF, CONIFER, PALM = range(3)
"""Values of `Stamps.style` for plants."""


def leaf_colours(
    stamps: Stamps, conditions: ImagingConditions, site: NDArray[np.floating]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """`(n, 3)` colour of every crown on the day, and whether it stands without leaves.

    `site` `(n,)`, unit variance: kinds of trees grow in patches where it is alike.
    """
    fresh = np.stack([linear(c) for c in conditions.region.crowns])
    dry = np.stack([linear(c) for c in conditions.region.crowns_dry])
    patch = np.float32(0.5) + np.float32(0.3) * site
    pick = np.clip(np.float32(0.55) * ((stamps.key * 97.3) % 1.0) + np.float32(0.45) * patch, 0, 1)
    late = (stamps.key * 31.7) % 1.0 + np.float32(0.35) * (patch - np.float32(0.5))
    turned = (late < conditions.season.turned) & (stamps.style == BROADLEAF)
    bare = turned & ((stamps.key * 53.9) % 1.0 < conditions.season.bare)
    colour = fresh[(pick * len(fresh) * 0.999).astype(int)]
    colour = np.where(turned[:, None], dry[(pick * len(dry) * 0.999).astype(int)], colour)
    colour = np.where((stamps.style == CONIFER)[:, None], colour * np.float32(0.75), colour)
    shade = np.float32(0.75) + np.float32(0.5) * ((stamps.key * 11.1) % 1.0)
    return (colour * shade[:, None]).astype(np.float32), bare


def tree(touch: BrushInput, colour: NDArray[np.float32], bare: NDArray[np.bool_]) -> Stroke:
    """A crown; `colour` and `bare` have a row per cell."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    radius = s.length / 2
    micro, grain = touch.noise("micro"), touch.noise("grain")
    ragged = 1 + np.float32(0.16) * micro
    ragged *= np.where(s.style == PALM, _fronds(touch), np.float32(1.0))
    r = np.hypot(u, v) / (radius * np.clip(ragged, 0.35, 1.4))
    dome = np.sqrt(np.clip(1 - r * r, 0, 1))
    steep = np.where(s.style == CONIFER, np.float32(1.6), np.float32(1.0)) * np.where(bare, 0.4, 1.0)
    slope = -steep.astype(np.float32) * r / np.sqrt(np.clip(1.25 - r * r, 0.2, 2))
    safe = np.maximum(np.hypot(u, v), np.float32(0.05))
    leaves = 1 + np.float32(0.22) * micro + np.float32(0.18) * grain
    leaves *= np.float32(0.72) + np.float32(0.38) * dome
    inside = np.clip(np.float32(0.5) + (1 - r) * radius / np.float32(touch.gsd), 0, 1)
    return Stroke(
        body=inside,
        cover=np.where(bare, np.minimum(inside, 0.62 + 0.12 * grain), inside).astype(np.float32),
        colour=colour * np.clip(leaves, 0.25, 2.0)[:, None],
        height=s.height * (np.float32(0.35) + np.float32(0.65) * dome),
        shade=touch.shade(slope * u / safe, slope * v / safe),
    )


def _fronds(touch: BrushInput) -> NDArray[np.float32]:
    """Radius factor of a palm: a star."""
    phi = np.arctan2(touch.cells.v, touch.cells.u)
    return np.float32(0.75) + np.float32(0.35) * np.cos(8 * phi + 6 * touch.stamps.key)
