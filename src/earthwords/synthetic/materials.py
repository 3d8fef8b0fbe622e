"""What the ground is made of: textures, and their colours in a region on a day.

Colours are sRGB as seen from above in diffuse light, written as hexadecimal `rrggbb`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthwords.synthetic.regions import Region
from earthwords.synthetic.scene import LABEL

Rgb = NDArray[np.float32]


def linear(colour: str) -> Rgb:
    """`"rrggbb"` -> `(3,)` linear light 0..1 (gamma 2, so that `sqrt` is the way back)."""
    return (np.frombuffer(bytes.fromhex(colour), dtype=np.uint8).astype(np.float32) / 255.0) ** 2


@dataclass(frozen=True, kw_only=True)
class Texture:
    """How a material varies. Weights belong to the wave bands macro, meso, micro (and grain)."""

    title: str
    """Class it is labelled as."""
    mix: tuple[float, float, float]
    """Strength with which each band moves the colour between the material's two colours."""
    bright: tuple[float, float, float, float]
    """Relative change of brightness per unit of each band; the last one is per pixel."""


TEXTURES: dict[str, Texture] = {
    "grass": Texture(title="grass", mix=(0.22, 0.22, 0.18), bright=(0.05, 0.06, 0.08, 0.10)),
    "lawn": Texture(title="grass", mix=(0.15, 0.20, 0.15), bright=(0.05, 0.06, 0.07, 0.07)),
    "meadow": Texture(title="grass", mix=(0.40, 0.35, 0.25), bright=(0.10, 0.12, 0.14, 0.12)),
    "garden": Texture(title="grass", mix=(0.15, 0.35, 0.40), bright=(0.08, 0.14, 0.20, 0.14)),
    "scrub": Texture(title="bare land", mix=(0.25, 0.30, 0.40), bright=(0.06, 0.08, 0.12, 0.10)),
    "soil": Texture(title="bare land", mix=(0.30, 0.30, 0.20), bright=(0.06, 0.08, 0.07, 0.07)),
    "yard": Texture(title="bare land", mix=(0.30, 0.40, 0.30), bright=(0.06, 0.12, 0.12, 0.10)),
    "sand": Texture(title="bare land", mix=(0.30, 0.20, 0.08), bright=(0.06, 0.05, 0.03, 0.04)),
    "rock": Texture(title="bare land", mix=(0.30, 0.35, 0.30), bright=(0.10, 0.14, 0.14, 0.10)),
    "snow": Texture(title="snow", mix=(0.20, 0.15, 0.05), bright=(0.03, 0.03, 0.02, 0.02)),
    "floor": Texture(title="trees", mix=(0.30, 0.30, 0.30), bright=(0.10, 0.12, 0.20, 0.15)),
    "crop": Texture(title="cropland", mix=(0.18, 0.18, 0.10), bright=(0.06, 0.06, 0.05, 0.06)),
    "asphalt": Texture(title="road", mix=(0.18, 0.14, 0.12), bright=(0.05, 0.04, 0.04, 0.05)),
    "dirt": Texture(title="road", mix=(0.30, 0.25, 0.15), bright=(0.05, 0.06, 0.06, 0.06)),
    "lot": Texture(title="pavement", mix=(0.15, 0.14, 0.14), bright=(0.04, 0.04, 0.05, 0.05)),
    "concrete": Texture(title="pavement", mix=(0.15, 0.12, 0.10), bright=(0.03, 0.03, 0.04, 0.04)),
    "paving": Texture(title="pavement", mix=(0.20, 0.25, 0.15), bright=(0.04, 0.06, 0.06, 0.06)),
    "runway": Texture(title="runway", mix=(0.18, 0.12, 0.10), bright=(0.04, 0.04, 0.04, 0.04)),
    "ballast": Texture(title="railway", mix=(0.20, 0.25, 0.20), bright=(0.05, 0.06, 0.08, 0.08)),
    "water": Texture(title="water", mix=(0.30, 0.15, 0.00), bright=(0.03, 0.02, 0.00, 0.00)),
    "ploughed": Texture(title="cropland", mix=(0.40, 0.25, 0.15), bright=(0.12, 0.08, 0.07, 0.08)),
    "stubble": Texture(title="cropland", mix=(0.30, 0.25, 0.20), bright=(0.08, 0.06, 0.06, 0.06)),
    "young crop": Texture(title="cropland", mix=(0.45, 0.30, 0.15), bright=(0.08, 0.06, 0.06, 0.06)),
    "cobbles": Texture(title="road", mix=(0.25, 0.25, 0.20), bright=(0.05, 0.06, 0.07, 0.06)),
    "court": Texture(title="pavement", mix=(0.35, 0.35, 0.20), bright=(0.06, 0.08, 0.07, 0.06)),
    "trodden": Texture(title="bare land", mix=(0.40, 0.40, 0.25), bright=(0.08, 0.12, 0.09, 0.08)),
}


@dataclass(frozen=True, kw_only=True)
class Season:
    """The state of the plants on the day."""

    green: float
    """1: all grass is fresh; 0: all of it is dry."""
    turned: float
    """Fraction of broad-leaved crowns in their dry or autumn colour."""
    bare: float
    """Fraction of the turned crowns that stand without leaves."""
    foliage: str = ""
    """"autumn": turned crowns have their bright colours; "leafless": they are grey-brown branches; both over
    fallen leaves. Empty: the region's `crowns_dry`."""
    snow: float = 0.0
    """How thick snow lies, 0: none, 1: nothing of the open ground shows."""


BRANCHES = ("705c4c", "7e6957", "897560", "604e40", "7c5844", "6c4f40", "8f7f6c")
"""Leafless crowns."""
AUTUMN = ("a8662f", "b0842f", "8f4f2c", "bd9a40", "7d6a32", "934032", "6b6b38", "8a5a34")
"""Broad-leaved crowns as they turn."""
_LITTER = ("6a543f", "987c5e")


_DRY = {"grass": "grass dry", "lawn": "grass dry", "meadow": "grass dry", "garden": "grass dry"}
_SOURCE = {
    "lawn": "grass", "meadow": "grass", "garden": "grass", "yard": "soil", "scrub": "soil",
    "ploughed": "soil", "stubble": "grass dry", "young crop": "soil", "court": "paving", "cobbles": "paving",
    "trodden": "dirt",
}  # fmt: skip


def ground_colours(region: Region, season: Season, *, name: str, variant: float) -> tuple[Rgb, Rgb]:
    """The two linear colours of a material in a region on a day; `variant` 0..1 picks a shade."""
    if name == "crop":
        return _crop_colours(region, season, variant=variant)
    if name == "water":
        shallow, deep = region.waters[int(variant * len(region.waters) * 0.999)].split()
        return linear(deep), linear(shallow)
    a, b = (linear(c) for c in region.grounds[_SOURCE.get(name, name)])
    if name in _DRY:
        dry_a, dry_b = (linear(c) for c in region.grounds[_DRY[name]])
        wet = {"lawn": 0.25, "meadow": -0.2}.get(name, 0.0)
        share = np.float32(np.clip(1 - season.green - wet + 0.5 * (variant - 0.5), 0, 1))
        a, b = a + (dry_a - a) * share, b + (dry_b - b) * share
    if name == "garden":
        a = a * np.float32(0.6)
    if name == "scrub":
        a, b = b, a + (linear(region.grounds["grass"][0]) - a) * np.float32(0.7)
    if name == "floor" and season.foliage:
        a, b = linear(_LITTER[0]), linear(_LITTER[1])
    if name in _DERIVED:
        a, b = _DERIVED[name](a, b, linear(region.grounds["grass"][0]), variant)
    shade = np.float32(0.82 + 0.36 * ((variant * 7.31) % 1.0))
    return a * shade, b * shade


def _ploughed(a: Rgb, b: Rgb, green: Rgb, variant: float) -> tuple[Rgb, Rgb]:
    """Damp or dry earth without plants."""
    wet = np.float32(0.45 + 0.75 * ((variant * 3.7) % 1.0))
    return a * wet, b * wet


def _stubble(a: Rgb, b: Rgb, green: Rgb, variant: float) -> tuple[Rgb, Rgb]:
    """Straw, from grey to gold."""
    gold = np.array([1.25, 1.1, 0.8 + 0.5 * ((variant * 3.7) % 1.0)], dtype=np.float32)
    return a * gold, b * gold


def _young_crop(a: Rgb, b: Rgb, green: Rgb, variant: float) -> tuple[Rgb, Rgb]:
    """Earth under a thin, patchy green."""
    dark = (a * np.float32(0.75)).astype(np.float32)
    thin, dense = (np.float32(0.25 + 0.5 * ((variant * 3.7) % 1.0) + k) for k in (0.0, 0.25))
    return dark + (green - dark) * thin, dark + (green * np.float32(1.2) - dark) * dense


def _court(a: Rgb, b: Rgb, green: Rgb, variant: float) -> tuple[Rgb, Rgb]:
    """Courtyards: cobbles, gravel or tar, often in the shade of moss."""
    tone = np.float32(0.5 + 0.6 * ((variant * 3.7) % 1.0))
    return a * tone, b * tone


def _trodden(a: Rgb, b: Rgb, green: Rgb, variant: float) -> tuple[Rgb, Rgb]:
    """Yards of earth: darker and more worn than the tracks between them."""
    tone = np.float32(0.62 + 0.36 * ((variant * 3.7) % 1.0))
    return a * tone, b * tone


def _cobbles(a: Rgb, b: Rgb, green: Rgb, variant: float) -> tuple[Rgb, Rgb]:
    """Paved lanes: darker than the squares."""
    tone = np.float32(0.5 + 0.35 * ((variant * 3.7) % 1.0))
    return a * tone, b * tone


_DERIVED = {
    "ploughed": _ploughed,
    "stubble": _stubble,
    "young crop": _young_crop,
    "court": _court,
    "cobbles": _cobbles,
    "trodden": _trodden,
}
"""Materials whose colours follow from those of another one."""


def _crop_colours(region: Region, season: Season, *, variant: float) -> tuple[Rgb, Rgb]:
    """A field: one of the region's crops, drier as the year goes on."""
    first, second = region.crops[int(variant * len(region.crops) * 0.999)].split()
    a, b = linear(first), linear(second)
    dry = np.float32(np.clip(0.75 - season.green + 0.6 * ((variant * 13.7) % 1.0 - 0.5), 0, 0.9))
    soil = linear(region.grounds["soil"][0])
    shade = np.float32(0.85 + 0.3 * ((variant * 5.13) % 1.0))
    return (a + (soil - a) * dry) * shade, (b + (soil * 1.2 - b) * dry) * shade


BUILT = frozenset({"asphalt", "cobbles", "court", "lot", "concrete", "paving", "runway", "ballast"})
"""Materials with straight edges."""

MATERIAL_LABEL: dict[str, int] = {name: LABEL[texture.title] for name, texture in TEXTURES.items()}
