"""What shapefiles cannot hold, and at which zoom levels tiles are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pyproj import CRS, Transformer

MOST_NAME, MOST_TEXT = 10, 254
"""Bytes of a name of a column, and of a text, of a dBase table."""
MOST_SHAPEFILE_BYTES = 2**31 - 1
"""Offsets are 32 bits: https://gdal.org/en/stable/drivers/vector/shapefile.html#size-issues"""
DEEPEST = 22
"""Zoom level of GDAL's vector tiles, at most."""
_EQUATOR = 156_543.033928
"""Metres of a pixel at zoom level 0, in tiles of 256."""
_SPAN = 8
"""Levels where nobody says how large pixels are."""
_POLE = 85.0511


def short_names(names: Sequence[str]) -> list[str]:
    """Names of at most 10 bytes of UTF-8 that differ without regard to case."""
    found: list[str] = []
    for name in names:
        short, number = _cut(name, MOST_NAME), 1
        while short.lower() in (other.lower() for other in found):
            short = f"{_cut(name, MOST_NAME - len(str(number)) - 1)}_{number}"
            number += 1
        found.append(short)
    return found


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


def shapefile_notes(short: Mapping[str, str], long_texts: Mapping[str, int]) -> list[str]:
    """What a shapefile lost.

    Args:
        short: names of columns to those in the file.
        long_texts: names of columns to how many texts are cut.
    """
    renamed = [f"{name} is {new}" for name, new in short.items() if name != new]
    notes = [f"A shapefile has names of 10 letters at most: {', '.join(renamed)}."] if renamed else []
    cut = [f"{count:,} of {name}" for name, count in long_texts.items() if count]
    return [
        *notes,
        *([f"A shapefile has texts of {MOST_TEXT} bytes at most: {', '.join(cut)} are cut."] if cut else []),
    ]


def zoom_levels(bounds: Sequence[float], crs: CRS, gsd: float | None) -> tuple[int, int]:
    """The level that shows everything in about one tile, and the one whose pixels are those of the source.

    Args:
        bounds: `(west, south, east, north)` in `crs`.
        gsd: metres of a pixel of the source; None: nobody knows.
    """
    lonlat = Transformer.from_crs(crs, 4326, always_xy=True).transform_bounds(*bounds)
    if not np.isfinite(lonlat).all():
        return 0, _SPAN
    west, south, east, north = lonlat
    south, north = (min(max(edge, -_POLE), _POLE) for edge in (south, north))
    low, high = (math.asinh(math.tan(math.radians(edge))) / (2 * math.pi) for edge in (south, north))
    share = max(((east - west) % 360) / 360, high - low, 2.0**-DEEPEST)
    least = min(DEEPEST, max(0, math.floor(-math.log2(share))))
    if not gsd:
        return least, min(DEEPEST, least + _SPAN)
    middle = _EQUATOR * math.cos(math.radians((south + north) / 2))
    return least, min(DEEPEST, max(least, math.ceil(math.log2(middle / gsd) - 1e-6)))
