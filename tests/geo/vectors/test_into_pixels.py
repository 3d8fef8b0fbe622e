"""The one way from coordinates of a file to pixels of a raster."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.transform import rowcol

from earthwords.errors import UsageError
from earthwords.geo.vectors.into_pixels import IntoPixels
from earthwords.types import Grid

TRANSFORM = Affine(0.4, 0.1, 412_000, 0.1, -0.5, 5_800_000)
GRID = Grid(height=70, width=110, transform=TRANSFORM, crs=CRS("EPSG:32633"))
PLACES = np.array([(3.5, 8.25), (109.99, 69.99), (0.0, 0.0), (110.5, 3.0), (4.0, -0.01)])
"""Column and row; the last two lie beside the grid."""


def _on_the_map(places: np.ndarray) -> np.ndarray:
    return np.stack(TRANSFORM @ tuple(places.T), axis=1)


def test_places_in_degrees_and_in_the_rasters_own_crs() -> None:
    points = _on_the_map(PLACES)
    degrees = np.stack(Transformer.from_crs(32633, 4326, always_xy=True).transform(*points.T), axis=1)
    for crs, given, moved in (("EPSG:32633", points, False), ("EPSG:4326", degrees, True), (CRS(4326), degrees, True)):
        way = IntoPixels(crs, GRID, source="m.gpkg")
        assert way.moved == moved
        np.testing.assert_allclose(way(given), PLACES, atol=1e-4)
        pixels, inside = way.pixels(np.concatenate([given, [(np.inf, 0.0), (np.nan, 1.0)]]))
        assert inside[:2].all() and not inside[3:].any()
        expected = rowcol(TRANSFORM, *points[:2].T)
        assert pixels[:2].T.tolist() == [list(axis) for axis in expected]
        assert (pixels[3:] == 0).all()


def test_a_raster_without_crs_is_measured_in_pixels() -> None:
    flat = Grid(height=70, width=110, transform=Affine.identity(), crs=None)
    way = IntoPixels("EPSG:4326", flat, source="m.geojson")
    assert not way.moved and way(PLACES).tolist() == PLACES.tolist()


def test_what_leads_nowhere() -> None:
    with pytest.raises(UsageError, match=r"m.gpkg has no CRS, but the map has one; give it"):
        IntoPixels(None, GRID, source="m.gpkg", onto="the map")
    moon = CRS("IAU_2015:30100")
    with pytest.raises(UsageError, match=r"Nothing leads from the CRS of m.gpkg to that of its raster"):
        IntoPixels(moon, GRID, source="m.gpkg")
