"""Areas against pyproj's geodesic polygons."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from earthwords.geo.grids.area import PixelAreas, row_area_m2
from earthwords.types import Grid

TURNED = Affine.translation(5e5, 4e6) @ Affine.rotation(25) @ Affine.scale(2, -3)
GRIDS = {
    "utm": ("EPSG:32617", Affine(0.1, 0, 404211, 0, -0.1, 3285142), 400, 333),
    "utm, a whole zone": ("EPSG:32617", Affine(100, 0, 2e5, 0, -100, 8e6), 2000, 6000),
    "rotated": ("EPSG:32617", TURNED, 120, 333),
    "south-up": ("EPSG:32617", Affine(2, 0, 5e5, 0, 2, 4e6), 120, 333),
    "degrees": ("EPSG:4326", Affine(8e-4, 0, -74.7, 0, -8e-4, -8.28), 377, 697),
    "degrees, far north": ("EPSG:4326", Affine(0.1, 0, 10, 0, -0.1, 80), 600, 900),
    "rotated degrees": ("EPSG:4326", Affine(1e-4, 2e-5, 10, 3e-5, -1e-4, 60), 300, 200),
    "web mercator": ("EPSG:3857", Affine(10, 0, 1.2e6, 0, -10, 8e6), 1000, 1500),
    "web mercator, a continent": ("EPSG:3857", Affine(1e4, 0, 0, 0, -1e4, 8e6), 1000, 900),
    "web mercator, few pixels": ("EPSG:3857", Affine(0.3, 0, 1.2e6, 0, -0.3, 8e6), 5, 7),
    "across the date line": ("EPSG:32701", Affine(10, 0, 1e5, 0, -10, 8e6), 500, 600),
    "over the pole": ("EPSG:3031", Affine(1000, 0, -3e5, 0, -1000, 2e5), 500, 600),
    "conic": ("EPSG:2154", Affine(0.2, 0, 6e5, 0, -0.2, 6.7e6), 80, 100),
    "feet": ("EPSG:2263", Affine(3, 0, 9e5, 0, -3, 2e5), 800, 1000),
    "compound": ("EPSG:2056+5728", Affine(2, 0, 2.6e6, 0, -2, 1.2e6), 40, 33),
}


def make(name: str) -> Grid:
    crs, transform, height, width = GRIDS[name]
    return Grid(height=height, width=width, transform=transform, crs=CRS.from_user_input(crs))


def geodesic_area(grid: Grid) -> float:
    """Of the grid's outline, with a vertex every few pixels."""
    rows, cols = np.linspace(0, grid.height, 2000), np.linspace(0, grid.width, 2000)
    top, bottom, left, right = (np.full(2000, v) for v in (0, grid.height, 0, grid.width))
    ring_cols = np.concatenate([cols, right, cols[::-1], left])
    ring_rows = np.concatenate([top, rows, bottom, rows[::-1]])
    x, y = grid.transform @ (ring_cols, ring_rows)
    to_degrees = Transformer.from_crs(grid.crs, grid.crs.geodetic_crs, always_xy=True)
    return abs(grid.crs.get_geod().polygon_area_perimeter(*to_degrees.transform(x, y))[0])


@pytest.mark.parametrize("name", GRIDS)
def test_the_pixels_add_up_to_the_ground(name: str) -> None:
    grid = make(name)
    assert row_area_m2(grid).shape == (grid.height,)
    assert row_area_m2(grid).sum() * grid.width == pytest.approx(geodesic_area(grid), rel=2e-5)


@pytest.mark.parametrize("name", ["utm, a whole zone", "rotated degrees", "web mercator, a continent", "over the pole"])
def test_single_pixels_have_their_own_area(name: str) -> None:
    grid = make(name)
    for row, col in ((0, 0), (grid.height - 1, grid.width - 1), (grid.height // 3, 2 * grid.width // 3)):
        block = np.broadcast_to(PixelAreas(grid).block(row, 1), (1, grid.width))
        pixel = Grid(height=1, width=1, transform=grid.transform @ Affine.translation(col, row), crs=grid.crs)
        assert block[0, col] == pytest.approx(geodesic_area(pixel), rel=1e-4)


def test_the_whole_earth() -> None:
    grid = Grid(height=180, width=360, transform=Affine(1, 0, -180, 0, -1, 90), crs=CRS.from_epsg(4326))
    wgs84 = 510_065_621_724_088.4
    assert row_area_m2(grid).sum() * 360 == pytest.approx(wgs84, rel=2e-4)


def test_blocks_of_any_height_agree() -> None:
    grid = make("degrees, far north")
    areas = PixelAreas(grid)
    parts = [areas.block(row, min(7, grid.height - row)) for row in range(0, grid.height, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), areas.block(0, grid.height))
    assert parts[0].shape == (7, 1)


def test_grads_are_not_degrees() -> None:
    grads = Grid(height=40, width=33, transform=Affine(0.01, 0, 2, 0, -0.01, 52), crs=CRS.from_epsg(4807))
    degrees = Grid(height=40, width=33, transform=Affine(0.009, 0, 1.8, 0, -0.009, 46.8), crs=CRS.from_epsg(4275))
    np.testing.assert_allclose(row_area_m2(grads), row_area_m2(degrees), rtol=1e-9)


def test_a_local_crs_is_measured_in_its_plane() -> None:
    feet = CRS.from_wkt('LOCAL_CS["site",UNIT["foot",0.3048]]')
    grid = Grid(height=4, width=5, transform=TURNED, crs=feet)
    np.testing.assert_allclose(row_area_m2(grid), 6 * 0.3048**2)


def test_without_a_crs_a_pixel_counts_one() -> None:
    areas = PixelAreas(Grid(height=4, width=5, transform=TURNED, crs=None))
    assert areas.unit == "px"
    np.testing.assert_array_equal(areas.block(1, 2), np.ones((2, 1)))


def test_the_sphere_is_a_sphere() -> None:
    crs = CRS.from_user_input("+proj=longlat +R=6371000")
    grid = Grid(height=100, width=200, transform=Affine(0.1, 0, 0, 0, -0.1, 30), crs=crs)
    expected = 6371000**2 * np.radians(20) * (np.sin(np.radians(30)) - np.sin(np.radians(20)))
    assert row_area_m2(grid).sum() * 200 == pytest.approx(expected, rel=2e-6)
