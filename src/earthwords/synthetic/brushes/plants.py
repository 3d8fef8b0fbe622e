"""Trees, palms and shrubs: ragged domes, lit on the sunny side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.brushes.brush import BrushInput, Stroke
from earthwords.synthetic.conditions import ImagingConditions
from earthwords.synthetic.materials import AUTUMN, BRANCHES, linear
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
    late_colours = {"autumn": AUTUMN, "leafless": BRANCHES}.get(conditions.season.foliage, conditions.region.crowns_dry)
    dry = np.stack([linear(c) for c in late_colours])
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


def tree(touch: BrushInput, colour: NDArray[np.float32], bare: NDArray[np.bool_], *, branches: bool = False) -> Stroke:
    """A crown; `colour` and `bare` have a row per cell. With `branches` the bare ones are drawn twig by twig."""
    crown = _crown(touch, colour, bare)
    return _branched(touch, crown, bare) if branches and bare.any() else crown


def _branched(touch: BrushInput, crown: Stroke, bare: NDArray[np.bool_]) -> Stroke:
    """Bare crowns as forked, pale branches: most of the ground shows through, and the shadow is a net."""
    s, u, v = touch.stamps, touch.cells.u, touch.cells.v
    radius, r = s.length / 2, np.hypot(u, v)
    phi = np.arctan2(v, u)
    forks = np.rint(5 + 5 * s.key) * np.where(r > radius * 0.45, 2, 1)
    turn = np.float32(6.28) * s.key + np.float32(0.5) * touch.noise("micro")
    arc = np.abs(np.mod(phi * forks / np.float32(6.2832) + turn, 1) - np.float32(0.5)) * np.float32(6.2832) * r / forks
    width = np.float32(0.10) + np.float32(0.035) * (radius - np.minimum(r, radius))
    limb = np.clip(np.float32(0.5) + (width - arc) / np.float32(max(touch.gsd, 0.15)), 0, 1)
    twigs = np.float32(0.34) + np.float32(0.20) * touch.noise("grain") + np.float32(0.10) * touch.noise("micro")
    fine = np.float32(min(1.0, touch.gsd / 0.8))
    seen = np.clip(np.maximum(limb * np.float32(0.9), twigs * (np.float32(0.6) + np.float32(0.9) * fine)), 0.02, 0.95)
    body = crown.cover if crown.body is None else crown.body
    pale = np.float32(0.85) + np.float32(0.25) * limb + np.float32(0.22) * touch.noise("grain")
    tall = (limb > 0.6) | (twigs > 0.60)
    return Stroke(
        body=crown.body,
        cover=np.where(bare, np.minimum(body, seen), crown.cover).astype(np.float32),
        colour=np.where(bare[:, None], crown.colour * np.clip(pale, 0.4, 1.7)[:, None], crown.colour),
        height=np.where(bare & ~tall, np.minimum(crown.height, 0.3), crown.height).astype(np.float32),
        shade=np.where(bare, np.float32(0.75) + np.float32(0.35) * crown.shade, crown.shade).astype(np.float32),
    )


def _crown(touch: BrushInput, colour: NDArray[np.float32], bare: NDArray[np.bool_]) -> Stroke:
    """A dome of leaves, a cone or a star of fronds."""
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
