"""Arrays on a grid as pictures of a web map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.warp import Resampling, calculate_default_transform, reproject

from earthwords.types import Grid

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

MERCATOR = CRS.from_epsg(3857)


@dataclass(frozen=True, kw_only=True)
class MercatorPicture:
    """A picture in EPSG:3857."""

    values: NDArray[np.uint8]
    """`(row, col, band)`."""
    corners: tuple[tuple[float, float], ...]
    """Longitude and latitude of its upper left, upper right, lower right and lower left corner."""
    placed: bool
    """False: the grid has no CRS, and a pixel is a metre around longitude 0, latitude 0."""


def on_web_mercator(values: NDArray[np.uint8], grid: Grid, *, smooth: bool, max_side: int = 2048) -> MercatorPicture:
    """Warp an array to the projection of web maps.

    Args:
        values: `(row, col, band)`; what lies outside of the grid becomes 0.
        grid: of the rows and columns.
        smooth: average pixels, as of an image; else the nearest, as of codes.
        max_side: longest side of the picture, pixels.
    """
    placed = grid.crs is not None
    transform = grid.transform if placed else Affine(1, 0, -grid.width / 2, 0, -1, grid.height / 2)
    source = grid.crs.to_wkt() if grid.crs is not None else MERCATOR.to_wkt()
    bounds = _bounds(transform, grid.width, grid.height)
    to, width, height = calculate_default_transform(source, MERCATOR.to_wkt(), grid.width, grid.height, *bounds)
    shrink = max(1.0, max(width, height) / max_side)
    made = np.zeros((values.shape[2], max(1, round(height / shrink)), max(1, round(width / shrink))), np.uint8)
    to = to @ Affine.scale(width / made.shape[2], height / made.shape[1])
    average = Resampling.average if shrink > 1.5 else Resampling.bilinear
    reproject(
        np.ascontiguousarray(np.moveaxis(values, 2, 0)), made, src_transform=transform, src_crs=source,
        dst_transform=to, dst_crs=MERCATOR.to_wkt(), resampling=average if smooth else Resampling.nearest,
    )  # fmt: skip
    back = Transformer.from_crs(MERCATOR, CRS.from_epsg(4326), always_xy=True)
    pixels = ((0, 0), (made.shape[2], 0), (made.shape[2], made.shape[1]), (0, made.shape[1]))
    corners = tuple((float(x), float(y)) for x, y in (back.transform(*(to @ pixel)) for pixel in pixels))
    return MercatorPicture(values=np.ascontiguousarray(np.moveaxis(made, 0, 2)), corners=corners, placed=placed)


def to_scene(frame: GeoDataFrame, grid: Grid) -> GeoDataFrame:
    """Geometries in degrees in the coordinates of a scene: of its CRS, or columns and rows of one without."""
    if grid.crs is not None:
        return frame.to_crs(grid.crs)
    flat = frame.to_crs(MERCATOR.to_wkt())
    pixels = flat.geometry.affine_transform([1, 0, 0, -1, grid.width / 2, grid.height / 2])
    return flat.set_geometry(pixels).set_crs(None, allow_override=True)


def _bounds(transform: Affine, width: int, height: int) -> tuple[float, float, float, float]:
    """West, south, east and north of a grid in its own CRS, turned ones too."""
    x, y = zip(*(transform @ pixel for pixel in ((0, 0), (width, 0), (width, height), (0, height))), strict=True)
    return min(x), min(y), max(x), max(y)
