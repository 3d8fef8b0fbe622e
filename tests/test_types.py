"""Grids know where they are and how large a pixel is on the ground."""

from __future__ import annotations

import math

import pytest
from affine import Affine
from pyproj import CRS, Geod, Transformer
from rasterio.transform import array_bounds

from earthwords.errors import UsageError
from earthwords.text.vocabulary import parse_classes
from earthwords.types import Grid, Window

UTM = Affine(0.5, 0, 350_000.25, 0, -0.5, 2_780_000.75)


def grid(crs: str | None, transform: Affine, height: int = 30, width: int = 50) -> Grid:
    return Grid(height=height, width=width, transform=transform, crs=CRS(crs) if crs else None)


def test_bounds_agree_with_rasterio() -> None:
    assert grid("EPSG:32640", UTM).bounds == array_bounds(30, 50, UTM)


def test_bounds_of_a_rotated_grid_hold_all_corners() -> None:
    turned = Affine.translation(1000, 2000) @ Affine.rotation(30) @ Affine.scale(2, -2)
    west, south, east, north = grid("EPSG:32640", turned).bounds
    for corner in ((0, 0), (50, 0), (0, 30), (50, 30)):
        x, y = turned @ corner
        assert west <= x <= east and south <= y <= north
    assert east - west == pytest.approx(100 * math.cos(math.radians(30)) + 60 * math.sin(math.radians(30)))


@pytest.mark.parametrize(
    ("crs", "pixel", "metres"),
    [("EPSG:32640", 0.5, 0.5), ("EPSG:2263", 2.0, 2.0 * 1200 / 3937), ("EPSG:3857", 10.0, 10.0)],
)
def test_gsd_of_projected_grids(crs: str, pixel: float, metres: float) -> None:
    transform = Affine(pixel, 0, 900_000, 0, -pixel, 200_000)
    assert grid(crs, transform).gsd_m == pytest.approx(metres)


def test_gsd_of_a_geographic_grid_is_geodesic() -> None:
    step = 1 / 3600
    found = grid("EPSG:4326", Affine(step, 0, 24.9, 0, -step, 60.2)).gsd_m
    lon, lat = 24.9 + 25 * step, 60.2 - 15 * step
    along = Geod(ellps="WGS84").inv(lon, lat, lon + step, lat)[2]
    up = Geod(ellps="WGS84").inv(lon, lat, lon, lat + step)[2]
    assert found == pytest.approx(math.sqrt(along * up), rel=1e-4)
    assert 20 < found < 22.5, "a second of arc at 60 degrees north: 15 m by 31 m"


@pytest.mark.parametrize(("lat", "shrink"), [(0.0, 1.0), (60.0, 0.5)])
def test_web_mercator_is_measured_on_the_ground(lat: float, shrink: float) -> None:
    """Its metre is the cosine of the latitude long, nearly: a sphere's projection of an ellipsoid."""
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(25.0, lat)
    sides = grid("EPSG:3857", Affine(2.0, 0, x, 0, -3.0, y)).ground_pixel_m
    assert sides == pytest.approx((2 * shrink, 3 * shrink), rel=0.01)


def test_a_degree_is_shorter_along_the_parallel() -> None:
    sides = grid("EPSG:4326", Affine(0.001, 0, 24.9, 0, -0.001, 60.0)).ground_pixel_m
    assert sides == pytest.approx((55.8, 111.4), rel=0.01)


def test_no_crs_no_metres() -> None:
    assert grid(None, Affine.identity()).gsd_m is None and grid(None, Affine.identity()).ground_pixel_m is None


def test_window_of_a_grid_keeps_the_ground() -> None:
    part = grid("EPSG:32640", UTM).window(Window(row=3, col=7, height=10, width=20))
    assert part.shape == (10, 20)
    assert part.transform @ (0, 0) == UTM @ (7, 3)


def test_resized_covers_the_same_ground() -> None:
    whole = grid("EPSG:32640", UTM)
    assert whole.resized(7, 13).bounds == pytest.approx(whole.bounds)


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one pixel"):
        grid(None, Affine.identity(), height=0)


def test_windows_intersect() -> None:
    a = Window(row=0, col=5, height=10, width=10)
    assert a.intersect(Window(row=8, col=0, height=9, width=7)) == Window(row=8, col=5, height=2, width=2)
    assert a.intersect(Window(row=10, col=5, height=1, width=1)) is None


def test_labels_of_many_classes_need_two_bytes() -> None:
    few, many = parse_classes([f"w{i}" for i in range(255)]), parse_classes([f"w{i}" for i in range(256)])
    assert (few.nodata, few.label_dtype.itemsize) == (255, 1)
    assert (many.nodata, many.label_dtype.itemsize) == (65535, 2)
    assert few.nodata >= len(few) and many.nodata >= len(many)
