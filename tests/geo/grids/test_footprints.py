"""Outlines of tiles on the earth, areas, days."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Transformer

from earthwords.errors import UsageError
from earthwords.geo.grids.footprints import area_of, footprints, native_windows
from earthwords.geo.sources.dates import date_of
from earthwords.types import Grid, Window

UTM = Grid(height=300, width=410, transform=Affine(0.5, 0, 326_417.5, 0, -0.5, 2_781_133.0), crs=CRS.from_epsg(32640))


def test_a_footprint_has_its_pixels_and_no_others() -> None:
    window = Window(row=40, col=130, height=64, width=96)
    (shape,) = footprints(UTM, [window])
    back = Transformer.from_crs(UTM.crs, 4326, always_xy=True)
    for row, col, inside in ((41, 131, True), (103, 225, True), (39, 131, False), (41, 227, False), (105, 131, False)):
        assert shape.contains(shapely.Point(back.transform(*(UTM.transform @ (col, row))))) is inside
    assert shape.is_valid and shape.geom_type == "Polygon"


def test_without_a_place() -> None:
    flat = Grid(height=5, width=7, transform=Affine.identity(), crs=None)
    assert footprints(flat, [Window(row=0, col=0, height=5, width=7)]).tolist() == [None]
    assert len(footprints(UTM, [])) == 0


def test_across_the_antimeridian() -> None:
    grid = Grid(height=100, width=200, transform=Affine(100, 0, 805_000, 0, -100, 8_000_000), crs=CRS.from_epsg(32760))
    (shape,) = footprints(grid, [Window(row=0, col=0, height=100, width=200)])
    assert shape.geom_type == "MultiPolygon" and shape.is_valid and len(shape.geoms) == 2
    west, _, east, _ = shape.bounds
    assert (west, east) == (-180, 180) and shape.area < 1
    assert area_of((179.9, -30, -179.9, -10), None).intersects(shape)
    assert not area_of((-100, -30, 100, -10), None).intersects(shape)


def test_native_windows_cover_the_working_ones() -> None:
    found = native_windows([Window(row=3, col=5, height=10, width=10)], working=(50, 70), native=(101, 140))
    assert found == [Window(row=6, col=10, height=21, width=20)]
    same = [Window(row=3, col=5, height=10, width=10)]
    assert native_windows(same, working=(50, 70), native=(50, 70)) == same


def test_areas(tmp_path: Path) -> None:
    path = tmp_path / "area.gpkg"
    box = shapely.box(326_000, 2_780_000, 327_000, 2_781_500)
    geopandas.GeoDataFrame(geometry=[box], crs=32640).to_file(path)
    shape = area_of(None, path)
    assert shape.bounds[0] == pytest.approx(55.28, abs=0.01) and shape.bounds[1] == pytest.approx(25.13, abs=0.01)
    assert area_of((0, 0, 1, 1), path).is_empty
    for bounds in ((0, 5, 1, 2), (0, 0, 200, 1), (0, 0, float("nan"), 1)):
        with pytest.raises(UsageError, match="WEST SOUTH EAST NORTH in degrees"):
            area_of(bounds, None)
    (tmp_path / "text.geojson").write_text("{}")
    with pytest.raises(UsageError, match=r"text\.geojson"):
        area_of(None, tmp_path / "text.geojson")
    with pytest.raises(UsageError, match="There is no area at"):
        area_of(None, tmp_path / "missing.gpkg")


@pytest.mark.parametrize(
    ("tags", "day"),
    [
        ({"TIFFTAG_DATETIME": "2018:07:16 12:00:00"}, "2018-07-16"),
        ({"TIFFTAG_DATETIME": "2020:01:01 00:00:00", "DATE_ACQUIRED": "2019-05-31"}, "2019-05-31"),
        ({"ACQUISITIONDATETIME": "20180716T10"}, "2018-07-16"),
        ({"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, None),
        ({"TIFFTAG_SOFTWARE": "2018-07-16"}, None),
    ],
)
def test_days(tags: dict[str, str], day: str | None) -> None:
    assert date_of(tags) == day


def test_boxes_are_the_bounds() -> None:
    shapes = footprints(UTM, [Window(row=0, col=0, height=300, width=410)])
    lon, lat = Transformer.from_crs(UTM.crs, 4326, always_xy=True).transform(*UTM.transform @ (0, 300))
    assert np.allclose(shapely.bounds(shapes)[0, 0], lon, atol=1e-4) and np.allclose(
        shapes[0].bounds[1], lat, atol=1e-4
    )
