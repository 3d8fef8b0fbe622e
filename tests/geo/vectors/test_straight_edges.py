"""Zones of other CRS follow the ground: compared with the places of all pixels, brought into the zones' CRS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from earthwords.geo.grids.georeference import pixel_to_crs
from earthwords.geo.vectors.zones import Zones
from earthwords.types import Grid

UTM = Grid(height=350, width=550, transform=Affine(100, 0, 400_000, 0, -100, 5_550_000), crs=CRS.from_epsg(32633))
FIJI = Grid(height=100, width=300, transform=Affine(3000, 0, 150_000, 0, -3000, 8_100_000), crs=CRS.from_epsg(32701))
ARCTIC = Grid(height=250, width=200, transform=Affine(2e4, 0, -1.001e6, 0, -2e4, 2.003e6), crs=CRS.from_epsg(3413))
GLOBE = Grid(height=180, width=360, transform=Affine(1, 0, -180, 0, -1, 90), crs=CRS.from_epsg(4326))
MOLLWEIDE = Grid(
    height=200, width=400, transform=Affine(9e4, 0, -1.8e7, 0, -9e4, 9e6), crs=CRS.from_proj4("+proj=moll")
)
HALF = Grid(
    height=200, width=210, transform=Affine(64e3, 0, -6.72e6, 0, -64e3, 6.4e6),
    crs=CRS.from_proj4("+proj=ortho +lat_0=40 +lon_0=100"),
)  # fmt: skip
GOES = Grid(
    height=120, width=100, transform=Affine(5e4, 0, 1e6, 0, -5e4, 5.5e6),
    crs=CRS.from_proj4("+proj=geos +h=35785831 +lon_0=-75 +sweep=x"),
)  # fmt: skip
WORLD, MERCATOR = shapely.box(-180, -90, 180, 90), shapely.box(-20037508, -20037508, 20037508, 20037508)
RING = shapely.box(-2e6, -2e6, 2e6, 2e6).difference(shapely.box(-1e6, -1e6, 1e6, 1e6))


def on(grid: Grid, crs: str, shape: shapely.Polygon) -> tuple[np.ndarray, bool, bool]:
    """Mask of one zone; whether it touches, and whether it reaches out."""
    zones = Zones(source="z.gpkg", names=("a",), shapes=np.array([shape], object), crs=crs).on(grid)
    found = np.zeros(grid.shape, bool)
    for cols, zone in zones.strip(0, grid.height)[1]:
        found[:, cols] = zone == 0
    return found, bool(zones.touching[0]), bool(zones.reaching_out[0])


def wanted(grid: Grid, crs: str, shape: shapely.Polygon) -> np.ndarray:
    """Where the middles of the pixels lie, in the zone's own CRS."""
    way = Transformer.from_crs(grid.crs, crs, always_xy=True)
    cols, rows = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    return np.asarray(shapely.contains_xy(shape, *way.transform(*pixel_to_crs(grid, cols, rows))))


@pytest.mark.parametrize(
    ("grid", "crs", "shape"),
    [
        pytest.param(UTM, "EPSG:4326", WORLD, id="all of the world"),
        pytest.param(UTM, "EPSG:4326", shapely.box(5, 49.97, 25, 60), id="a parallel through the scene"),
        pytest.param(UTM, "EPSG:4326", shapely.box(-50, 40, 80, 60), id="far beyond the zone of UTM"),
        pytest.param(UTM, "EPSG:4326", shapely.box(-70, 0, 100, 80), id="where UTM ends"),
        pytest.param(UTM, "EPSG:4326", shapely.box(14, 49.9, 14.5, 50), id="half a degree"),
        pytest.param(UTM, "EPSG:4326", shapely.box(14, 49.9, 14.2, 50), id="inside"),
        pytest.param(UTM, "EPSG:3857", MERCATOR, id="all of Mercator"),
        pytest.param(UTM, "EPSG:3857", shapely.box(-3e6, 6_430_000, 3e6, 9e6), id="a line of Mercator"),
        pytest.param(FIJI, "EPSG:4326", WORLD, id="both sides of 180 E"),
        pytest.param(FIJI, "EPSG:4326", shapely.box(179, -18, 180, -17), id="one side of 180 E"),
        pytest.param(FIJI, "EPSG:3857", MERCATOR, id="both edges of Mercator"),
        pytest.param(ARCTIC, "EPSG:4326", shapely.box(-180, 80, 180, 90), id="over the pole"),
        pytest.param(ARCTIC, "EPSG:4326", shapely.box(10, 60, 100, 90), id="up to the pole"),
        pytest.param(ARCTIC, "EPSG:3857", MERCATOR, id="the pole has no place in Mercator"),
        pytest.param(GLOBE, "EPSG:3857", shapely.box(-3e6, 6_430_000, 3e6, 9e6), id="Mercator on the globe"),
        pytest.param(GLOBE, "EPSG:3413", shapely.box(-1e6, -2e6, 3e6, 1e6), id="a pole in the zone"),
        pytest.param(GLOBE, "EPSG:3413", RING, id="a pole in the hole"),
        pytest.param(GLOBE, "EPSG:3413", shapely.box(-3e6, 1e6, -1e6, 3e6), id="a zone on 180 E"),
    ],
)
def test_every_pixel_is_where_it_is(grid: Grid, crs: str, shape: shapely.Polygon) -> None:
    found, touches, out = on(grid, crs, shape)
    other = wanted(grid, crs, shape)
    assert (found != other).sum() <= 0.002 * other.sum(), (found.sum(), other.sum())
    assert touches and other.any()
    wider = replace(
        grid, height=grid.height + 2, width=grid.width + 2, transform=grid.transform * Affine.translation(-1, -1)
    )
    assert out == (grid is not GLOBE and wanted(wider, crs, shape).sum() > other.sum())


@pytest.mark.parametrize(
    ("grid", "crs", "shape", "beyond"),
    [
        (HALF, "EPSG:4326", WORLD, True),
        (HALF, "EPSG:4326", shapely.box(-160, -40, 60, 50), True),
        (HALF, "EPSG:4326", shapely.box(30, -20, 150, 40), False),
        (HALF, "EPSG:3413", RING, False),
        (GOES, "EPSG:3857", MERCATOR, True),
    ],
)
def test_zones_end_at_the_horizon(grid: Grid, crs: str, shape: shapely.Polygon, beyond: bool) -> None:
    found, touches, out = on(grid, crs, shape)
    other = wanted(grid, crs, shape)
    assert (found != other).sum() <= 0.002 * other.sum(), (found.sum(), other.sum())
    assert touches and out is beyond and other.any()


def test_longitudes_may_go_on() -> None:
    whole = shapely.union(shapely.box(175, -18, 180, -17), shapely.box(-180, -18, -175, -17))
    found, _, _ = on(FIJI, "EPSG:4326", shapely.box(175, -18, 185, -17))
    assert (found != wanted(FIJI, "EPSG:4326", whole)).sum() <= 2
    east = shapely.union(shapely.box(170, 20, 180, 60), shapely.box(-180, 20, -170, 60))
    found, _, _ = on(MOLLWEIDE, "EPSG:4326", shapely.box(170, 20, 190, 60))
    assert (found != wanted(MOLLWEIDE, "EPSG:4326", east)).sum() <= 2
    found, _, _ = on(UTM, "EPSG:4326", shapely.box(365, 49.97, 385, 60))
    assert (found == wanted(UTM, "EPSG:4326", shapely.box(5, 49.97, 25, 60))).all()


@pytest.mark.parametrize(
    ("grid", "crs", "shape"),
    [
        (UTM, "EPSG:4326", shapely.box(-165, -60, -160, -49.5)),
        (UTM, "EPSG:3413", shapely.box(-2e5, -2e5, 2e5, 2e5)),
        (ARCTIC, "EPSG:4326", shapely.box(-180, -90, 180, -80)),
        (FIJI, "EPSG:4326", shapely.box(0, -18, 5, -17)),
    ],
)
def test_zones_elsewhere_touch_nothing(grid: Grid, crs: str, shape: shapely.Polygon) -> None:
    found, touches, out = on(grid, crs, shape)
    assert (found.any(), touches, out) == (False, False, False)
