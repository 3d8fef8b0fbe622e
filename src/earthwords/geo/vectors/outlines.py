"""Masks to polygons, one by one; labels of a whole scene are faster through `vectorize`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes

from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.mask_set import MaskSet
from earthwords.types import Grid

_PIXELS = 2**24
"""Of a mask that is traced in one piece."""


def outlines(masks: MaskSet, grid: Grid) -> NDArray[np.object_]:
    """`(mask,)` polygons along the edges of the pixels, in the CRS of the grid; several parts where a mask has them.

    All are polygons, or all are multipolygons.
    """
    found = np.array([_outline(masks, i) for i in range(len(masks))], object)
    return to_crs(_alike(found), grid)


def boxes(masks: MaskSet, grid: Grid) -> NDArray[np.object_]:
    """`(mask,)` the rectangles of pixels around the masks, as polygons in the CRS of the grid."""
    row, col, height, width = masks.boxes.T.astype(float)
    return to_crs(shapely.box(col, row, col + width, row + height), grid)


def points(places: NDArray[np.float64], grid: Grid) -> NDArray[np.object_]:
    """`(n,)` points in the CRS of the grid, of places `(n, 2)` x, y in pixels."""
    return to_crs(shapely.points(places), grid)


def to_crs(geometries: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """From pixels (x to the right, y down) to the CRS."""

    def move(places: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(pixel_to_crs(grid, places[:, 0], places[:, 1]), axis=1)

    return np.asarray(shapely.transform(np.asarray(geometries, object), move))


def _outline(masks: MaskSet, index: int) -> Any:
    """In pixels; of a large mask the pieces are joined, which leaves corners on their seams."""
    row, col, height, width = (int(n) for n in masks.boxes[index])
    step = max(8, _PIXELS // width // 8 * 8)
    parts = [
        part
        for first in range(0, height, step)
        for part in _traced(masks.rows(index, first, first + step), row + first, col)
    ]
    return (
        shapely.union_all(parts) if height > step else (parts[0] if len(parts) == 1 else shapely.multipolygons(parts))
    )


def _traced(mask: NDArray[np.bool_], row: int, col: int) -> Iterator[Any]:
    for shape, _ in shapes(mask.astype(np.uint8), mask=mask, connectivity=4, transform=Affine.translation(col, row)):
        rings = shape["coordinates"]
        yield shapely.Polygon(rings[0], rings[1:])


def _alike(found: NDArray[np.object_]) -> NDArray[np.object_]:
    if (shapely.get_type_id(found) == shapely.GeometryType.POLYGON).all():
        return found
    return np.array([shapely.multipolygons(shapely.get_parts(one)) for one in found], object)
