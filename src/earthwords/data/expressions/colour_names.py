"""Names of colours, given only where nobody would say another: CIE Lab (D65) with a core and a wide border.

A colour is *a name* inside the core, *not that name* outside the border, and between them nothing is said. The numbers
are our own, set by eye on aerial images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Range:
    """A part of Lab: lightness 0..100, chroma from 0, hue in degrees (from may be above to: through 0)."""

    light: tuple[float, float] = (0, 100)
    chroma: tuple[float, float] = (0, 200)
    hue: tuple[float, float] = (0, 360)

    def holds(self, lab: NDArray[np.float64]) -> NDArray[np.bool_]:
        """`(...)` of colours `(..., 3)`."""
        light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
        hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
        low, high = self.hue
        turned = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
        inside = (light >= self.light[0]) & (light <= self.light[1])
        return np.asarray(inside & (chroma >= self.chroma[0]) & (chroma <= self.chroma[1]) & turned)


CORE: dict[str, Range] = {
    "white": Range(light=(82, 100), chroma=(0, 11)),
    "grey": Range(light=(42, 68), chroma=(0, 8)),
    "black": Range(light=(0, 20), chroma=(0, 11)),
    "red": Range(light=(22, 68), chroma=(26, 200), hue=(8, 45)),
    "brown": Range(light=(25, 50), chroma=(17, 42), hue=(48, 78)),
    "yellow": Range(light=(65, 100), chroma=(42, 200), hue=(80, 105)),
    "green": Range(light=(18, 80), chroma=(15, 200), hue=(112, 168)),
    "blue": Range(light=(15, 85), chroma=(20, 200), hue=(225, 305)),
}
BORDER: dict[str, Range] = {
    "white": Range(light=(70, 100), chroma=(0, 22)),
    "grey": Range(light=(28, 80), chroma=(0, 16)),
    "black": Range(light=(0, 32), chroma=(0, 20)),
    "red": Range(chroma=(14, 200), hue=(340, 62)),
    "brown": Range(light=(10, 66), chroma=(8, 60), hue=(28, 95)),
    "yellow": Range(light=(50, 100), chroma=(20, 200), hue=(65, 118)),
    "green": Range(chroma=(7, 200), hue=(96, 195)),
    "blue": Range(chroma=(7, 200), hue=(195, 325)),
}
NAMES = tuple(CORE)

_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = _XYZ.sum(axis=1)


def lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """`(..., 3)` CIE Lab of sRGB `(..., 3)` (IEC 61966-2-1)."""
    steps = np.arange(256) / 255
    linear = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)[rgb]
    xyz = linear @ _XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def opinions(colours: NDArray[np.float64]) -> dict[str, NDArray[np.int8]]:
    """Name -> `(n,)` 1 that colour, -1 another, 0 not clear; of Lab colours `(n, 3)`."""
    found = {}
    for name in NAMES:
        inside, near = CORE[name].holds(colours), BORDER[name].holds(colours)
        found[name] = np.where(inside, 1, np.where(near, 0, -1)).astype(np.int8)
    return found
