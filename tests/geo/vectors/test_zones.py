"""Zones of any file and CRS in the pixels of a raster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.features import rasterize

from earthwords.errors import SourceError, UsageError
from earthwords.geo.vectors.zones import read_zones, write_zones, zones_identity
from earthwords.inference.windows.zone_figures import zone_notes, zone_rows
from earthwords.types import Grid

GRID = Grid(height=70, width=110, transform=Affine(0.5, 0, 400_000, 0, -0.5, 5_000_000), crs=CRS.from_epsg(32633))
PIXELS = [
    shapely.box(-10, 5, 40, 60),
    shapely.box(40, 5, 90, 60),
    shapely.Polygon([(30, 20), (80, 31), (55, 66)]),
    shapely.box(300, 300, 320, 320),
]


def write(path: Path, shapes: list[shapely.Polygon], crs: str | None = "EPSG:32633", **columns: list[object]) -> Path:
    a, _, c, _, e, f = GRID.transform[:6]
    placed = [shapely.transform(s, lambda p: p * (a, e) + (c, f)) for s in shapes]
    geopandas.GeoDataFrame(columns, geometry=placed, crs=crs).to_file(path)
    return path


def test_strips_are_those_of_the_whole(tmp_path: Path) -> None:
    zones = read_zones(write(tmp_path / "z.gpkg", PIXELS, Name=["a", "b", "", "far"])).on(GRID)
    assert zones.zones.names == ("a", "b", "3", "far")
    assert zones.touching.tolist() == [True, True, True, False]
    assert zones.reaching_out.tolist() == [True, False, False, False]
    for more, deep in (([], 2), ([shapely.box(20, 10, 60, 50)], 3)):
        shapes = [*PIXELS, *more]
        zones = read_zones(write(tmp_path / f"{deep}.gpkg", shapes)).on(GRID)
        whole, cover = np.zeros((len(shapes), *GRID.shape), int), np.zeros(GRID.shape, int)
        for row, height in ((0, 32), (32, 7), (39, 31)):
            counted, layers = zones.strip(row, height)
            for cols, own in layers:
                for zone in range(len(shapes)):
                    whole[zone, row : row + height, cols] += own == zone
            cover[row : row + height] = counted
        wanted = np.stack([rasterize([s], out_shape=GRID.shape) for s in shapes])
        np.testing.assert_array_equal(whole, wanted)
        np.testing.assert_array_equal(cover, wanted.sum(axis=0))
        assert cover.max() == deep


def test_what_has_no_area_is_no_ground(tmp_path: Path) -> None:
    """A bow tie is two triangles; a spike, and what is left of a polygon on a line, hold no pixel."""
    bow = shapely.Polygon([(10, 10), (50, 50), (50, 10), (10, 50)])
    spike = shapely.Polygon([(60, 10), (90, 10), (90, 40), (60, 40), (60, 60), (60, 10)])
    flat = shapely.Polygon([(5, 5), (95, 65), (5, 5)])
    zones = read_zones(write(tmp_path / "z.gpkg", [bow, spike, flat])).on(GRID)
    wanted = [rasterize([s], out_shape=GRID.shape) for s in (shapely.make_valid(bow), spike.buffer(0))]
    found = [sum((own == zone).sum() for _, own in zones.strip(0, GRID.height)[1]) for zone in range(3)]
    assert found == [wanted[0].sum(), wanted[1].sum(), 0] and zones.touching.tolist() == [True, True, False]
    write_zones(tmp_path / "out.gpkg", zones.zones, {"count": np.array([1, 2, 3])})
    assert geopandas.read_file(tmp_path / "out.gpkg")["count"].tolist() == [1, 2, 3]


def test_places_lie_in_zones(tmp_path: Path) -> None:
    zones = read_zones(write(tmp_path / "z.gpkg", PIXELS)).on(GRID)
    places = np.array([[10, 30], [40, 30], [60, 40], [105, 65], [40, 10]])
    place, zone = zones.holding(places)
    pairs = set(zip(place.tolist(), zone.tolist(), strict=True))
    assert {pair for pair in pairs if pair[1] != 2} == {(0, 0), (1, 1), (2, 1), (4, 1)}, "on a border: one of both"
    assert {pair[0] for pair in pairs if pair[1] == 2} == {1, 2}


def test_other_crs_lead_to_the_same_pixels(tmp_path: Path) -> None:
    own = write(tmp_path / "z.gpkg", PIXELS[1:3])
    geopandas.read_file(own).to_crs(4326).to_file(tmp_path / "z.geojson")
    first, second = (read_zones(path).on(GRID) for path in (own, tmp_path / "z.geojson"))
    for one, other in zip(first.shapes, second.shapes, strict=True):
        assert shapely.hausdorff_distance(one, other) < 0.01


def test_what_cannot_be_zones(tmp_path: Path) -> None:
    nowhere = write(tmp_path / "nowhere.gpkg", PIXELS, crs=None)
    with pytest.raises(UsageError, match="has no CRS"):
        read_zones(nowhere).on(GRID)
    geopandas.GeoDataFrame({"a": []}, geometry=[], crs=4326).to_file(tmp_path / "empty.gpkg")
    geopandas.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=4326).to_file(tmp_path / "points.gpkg")
    for name, said in (("empty", "holds no polygons, so there are no zones in it"), ("points", "zones are polygons")):
        with pytest.raises(SourceError, match=said):
            read_zones(tmp_path / f"{name}.gpkg")


def test_rows_without_a_shape_keep_the_numbers_of_others(tmp_path: Path) -> None:
    path = write(tmp_path / "z.gpkg", PIXELS, code=["a", None, "c", None])
    frame = geopandas.read_file(path)
    frame.loc[0, "geometry"], frame.loc[2, "geometry"] = None, shapely.Polygon()
    frame.to_file(path)
    zones = read_zones(path)
    assert (zones.numbers, zones.names, zones.left_out) == ((2, 4), ("2", "4"), 2)
    on = zones.on(GRID)
    assert "2 of 4 rows of z.gpkg have no polygon and are left out." in zone_notes(on)
    numbers, names = zone_rows(on)
    assert (tuple(numbers), tuple(names)) == ((2, 4, 5), ("2", "4", "outside of all zones"))
    write_zones(tmp_path / "out.gpkg", zones, {})
    assert geopandas.read_file(tmp_path / "out.gpkg")["zone"].tolist() == [2, 4]


def test_columns_of_the_file_are_kept(tmp_path: Path) -> None:
    given = {
        "people": [7, None, 9], "built": [True, False, True], "width": [0.5, 1.5, None], "NAME": ["a", "nan", ""],
        "Zone": ["x", "y", "z"], "area_m2": [1.0, 2.0, 3.0], "empty": [None, None, None],
    }  # fmt: skip
    path = write(tmp_path / "z.gpkg", PIXELS[:3], **given)
    figures = {"area_m2": np.array([5.0, 6.0, 7.0]), "ship count": np.array([3, None, 0], object)}
    write_zones(tmp_path / "out.gpkg", read_zones(path), figures)
    found = geopandas.read_file(tmp_path / "out.gpkg")
    assert found["name"].tolist() == ["a", "nan", "3"] and found["Zone_before"].tolist() == ["x", "y", "z"]
    assert found["people"].dropna().tolist() == [7, 9] and found["width"].dropna().tolist() == [0.5, 1.5]
    assert found["built"].tolist() == [True, False, True] and found["empty"].isna().all()
    assert found["area_m2"].tolist() == [5, 6, 7] and found["area_m2_before"].tolist() == [1, 2, 3]
    assert found["ship count"].isna().tolist() == [False, True, False] and found["zone"].tolist() == [1, 2, 3]
    write_zones(tmp_path / "again.gpkg", read_zones(tmp_path / "out.gpkg"), figures)
    assert len(geopandas.read_file(tmp_path / "again.gpkg")) == 3


def test_only_one_side_has_a_crs(tmp_path: Path) -> None:
    flat = replace(GRID, crs=None)
    with pytest.raises(UsageError, match=r"z.gpkg has a CRS \(WGS 84 / UTM zone 33N\) and the scene has none"):
        read_zones(write(tmp_path / "z.gpkg", PIXELS)).on(flat)
    on = read_zones(write(tmp_path / "z.geojson", PIXELS, crs="EPSG:4326")).on(flat)
    assert on.touching.any() and any("are taken as the scene's own" in note for note in zone_notes(on))
    assert not any(
        "taken as" in note for note in zone_notes(read_zones(write(tmp_path / "n.gpkg", PIXELS, crs=None)).on(flat))
    )


def test_figures_are_written_with_the_zones(tmp_path: Path) -> None:
    path = write(tmp_path / "z.gpkg", PIXELS[:2], crs="EPSG:32633", zone=["west", "east"])
    write_zones(tmp_path / "out.gpkg", read_zones(path), {"ship count": np.array([3, 0])})
    found, source = geopandas.read_file(tmp_path / "out.gpkg"), geopandas.read_file(path)
    assert found["ship count"].tolist() == [3, 0] and found["name"].tolist() == ["west", "east"]
    assert found.crs == source.crs and found.geometry.area.tolist() == source.geometry.area.tolist()
    before = zones_identity(path)
    path.write_bytes(path.read_bytes() + b" ")
    assert zones_identity(path) != before


def test_what_zones_are_called_by(tmp_path: Path) -> None:
    """A usual column; else the first with text, or the first with another number in each row; and it is said."""
    count, said = len(PIXELS), "are called by its column 'bezirk'; one called name would come first"
    text, numbers = [f"B{i}" for i in range(count)], [10 * i for i in range(count)]
    cases: tuple[tuple[dict[str, list[object]], list[str], str | None], ...] = (
        ({"bezirk": text, "Name": numbers}, [str(n) for n in numbers], None),
        ({"pop": [5] * count, "bezirk": text, "other": text[::-1]}, text, said),
        ({"area": [0.5] * count, "pop": [5] * count, "gid": numbers}, [str(n) for n in numbers], "its column 'gid'"),
        ({"pop": [5] * count}, [str(i + 1) for i in range(count)], "they are called by their rows"),
    )
    for columns, names, words in cases:
        zones = read_zones(write(tmp_path / "z.gpkg", PIXELS, **columns))
        assert list(zones.names) == names
        told = [note for note in zone_notes(zones.on(GRID)) if "called by" in note]
        assert (not told) if words is None else len(told) == 1 and words in told[0]
