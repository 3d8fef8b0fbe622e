"""Polygons over a raster, as `readers.geojson`; what a tile shows of them becomes masks, holes left open."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from earthwords.data.annotations.boxes import geojson
from earthwords.data.annotations.boxes._common import How, Item
from earthwords.data.annotations.boxes.geojson import fits
from earthwords.data.annotations.instances import Instances, painted
from earthwords.viz.polygon_masks import filled

__all__ = ["fits", "items", "load"]


def items(source: Path, how: How) -> Iterator[Item]:
    """An item a tile; the note has the tile, its polygons, and the classes of the whole file."""
    found = list(geojson.clipped(source, replace(how, visible=0.0)))  # what is cut off is seen as well
    known = tuple(sorted({name for example, _ in found for name in example.classes}))
    for example, parts in found:
        note = (example, shapely.to_wkb(parts).tolist(), known)
        yield Item(name=example.name, set=example.set, image=example.image, note=note, window=example.window)


def load(item: Item, how: How) -> Iterator[Instances]:
    """The tile."""
    example, wkb, known = item.note
    height, width = example.size
    shapes = shapely.from_wkb(np.array(wkb, dtype=object))
    sizes = np.array([np.count_nonzero(_mask(shape, height, width)) for shape in shapes], dtype=np.float64)
    ids = np.zeros(example.size, dtype=np.int32)
    for i in np.argsort(-sizes, kind="stable"):  # drawn again: all of them at once would not fit
        ids[_mask(shapes[i], height, width)] = i + 1
    yield painted(example, ids, whole=sizes, least=how.least, known=known, solid=True)


def _mask(shape: Any, height: int, width: int) -> NDArray[np.bool_]:
    """`(row, col)` pixels of polygons."""
    polygons = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    rings = [
        (p.exterior, 1) if i == 0 else (p.interiors[i - 1], 0) for p in polygons for i in range(1 + len(p.interiors))
    ]
    return filled(((shapely.get_coordinates(ring) - 0.5, value) for ring, value in rings), height, width)
