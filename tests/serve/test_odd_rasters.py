"""Rasters that are damaged, lie at an edge of the map, or have files beside them that lead elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from fastapi.testclient import TestClient
from pyproj import CRS, Geod
from rasterio.enums import Resampling

from earthwords.errors import SourceError, UsageError
from earthwords.geo.sources.gdal_dataset import open_dataset
from earthwords.geo.sources.network import Network
from earthwords.geo.sources.plain_files import SETTING
from earthwords.geo.sources.served import facts_of, open_served, window_of_lonlat
from earthwords.geo.vectors.served import write_pmtiles
from earthwords.serve.views.gallery import held
from earthwords.serve.views.parts import SeenView
from earthwords.serve.views.picture import TopScores
from earthwords.types import ClassName, Grid, Vocabulary
from tests.conftest import write_raster
from tests.serve.conftest import PLACE, picture

OVERVIEWS = '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="{key}">{file}</MDI></Metadata></PAMDataset>'

WORDS = Vocabulary(classes=tuple(ClassName(names=(n,), colour=(i, 9, 2)) for i, n in enumerate(("water", "wood"))))
VRT = (
    '<VRTDataset rasterXSize="230" rasterYSize="150"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    "<SourceFilename>{file}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
)


def named(client: TestClient) -> dict[str, dict[str, Any]]:
    answer = client.get("/api/sources")
    assert answer.status_code == 200, answer.text
    return {source["name"]: source for source in answer.json()["sources"]}


@pytest.mark.parametrize("how", ["vrt", "link", "aux", "escaped", "upper", "mask", "folder"])
def test_files_beside_a_raster_lead_nowhere_else(
    client: TestClient, folder: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.tif"
    write_raster(secret, np.full((3, 150, 230), 77, np.uint8), transform=PLACE, crs="EPSG:32632")
    town = folder / "town.tif"
    vrt = VRT.format(file=secret)
    if how == "vrt":
        (folder / "town.tif.ovr").write_text(vrt)
    elif how == "upper":
        (folder / "town.tif.OVR").write_text(vrt)
    elif how == "mask":
        (folder / "town.tif.msk").write_text(vrt)
    elif how == "link":
        os.symlink(secret, folder / "town.tif.ovr")
    elif how == "folder":
        (folder / "town.tif.ovr").mkdir()
    else:
        key = "OVERVIEW_FILE" if how == "aux" else "OVERVIEW&#95;FILE"
        (folder / "town.tif.aux.xml").write_text(OVERVIEWS.format(key=key, file=secret))
    with pytest.raises(SourceError, match=r"town\.tif"), open_served(town):
        pass
    assert "town.tif" not in named(client) and "plain.png" in named(client)
    monkeypatch.setenv(SETTING, "1")
    with pytest.raises(SourceError, match=r"town\.tif"):
        open_dataset(str(town), network=Network.NONE)


def test_overviews_of_the_raster_itself_are_used(folder: Path) -> None:
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(folder / "town.tif", "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
    with rasterio.Env(), rasterio.open(folder / "town.tif") as dataset:
        expected = dataset.overviews(1)
    with open_served(folder / "town.tif") as dataset:
        assert dataset.overviews(1) == expected == [2, 4]


def test_overviews_that_a_tiff_names_inside_are_refused(folder: Path, tmp_path: Path) -> None:
    with rasterio.open(folder / "town.tif", "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(tmp_path / "secret.tif"))
    with pytest.raises(SourceError, match="names overviews"), open_served(folder / "town.tif"):
        pass


def test_edges_of_the_map_hide_no_other_raster(client: TestClient, folder: Path) -> None:
    small = picture(20, 30)
    write_raster(folder / "date.tif", small, transform=Affine(0.001, 0, 179.999, 0, -0.001, 10), crs="EPSG:4326")
    write_raster(folder / "beyond.tif", small, transform=Affine(0.1, 0, 200, 0, -0.1, 10), crs="EPSG:4326")
    write_raster(folder / "pole.tif", small, transform=Affine(0.01, 0, 20, 0, -0.01, 90), crs="EPSG:4326")
    found = named(client)
    assert {"date.tif", "beyond.tif", "pole.tif", "town.tif"} <= set(found)
    np.testing.assert_allclose(found["date.tif"]["bounds"], [179.999, 9.98, 180, 10])
    np.testing.assert_allclose(found["beyond.tif"]["bounds"], [-160, 8, -157, 10])
    assert any("around longitude 0" in note["text"] for note in found["pole.tif"]["notes"])
    assert not any("around longitude 0" in note["text"] for note in found["town.tif"]["notes"])


def test_a_raster_that_ends_early_is_told(client: TestClient, folder: Path) -> None:
    whole = (folder / "town.tif").read_bytes()
    source = named(client)["town.tif"]
    (folder / "town.tif").write_bytes(whole[: len(whole) // 3])
    for name, found in named(client).items():
        if name == "town.tif":
            assert found["id"] == source["id"]
            west, south, east, north = found["bounds"]
            side = 2 * np.pi * 6378137 / 2**16
            x = int(((west + east) / 2 + 180) / 360 * 2**16)
            y = int((np.pi * 6378137 - 6378137 * np.arcsinh(np.tan(np.radians((south + north) / 2)))) / side)
            answer = client.get(f"/api/sources/{source['id']}/tiles/16/{x}/{y}.webp")
            assert answer.status_code == 422 and "town.tif" in answer.json()["detail"], answer.text
            return
    pytest.fail("town.tif is not listed")


def test_bounds_that_hold_the_scene_are_the_scene(folder: Path) -> None:
    grid = facts_of(folder / "town.tif").placed
    whole = window_of_lonlat(grid, (-180, -90, 180, 90))
    assert (whole.row, whole.col, whole.height, whole.width) == (0, 0, 300, 460)
    west, south, east, north = facts_of(folder / "town.tif").bounds
    left = window_of_lonlat(grid, (-180, -90, (west + east) / 2, 90))
    assert (left.row, left.col, left.height) == (0, 0, 300) and abs(left.width - 230) < 6
    with pytest.raises(UsageError, match="WEST SOUTH EAST NORTH"):
        window_of_lonlat(grid, (east, south, west, north))
    with pytest.raises(UsageError, match="do not touch") as caught:
        window_of_lonlat(grid, (-100, -60, -90, -50))
    assert "inf" not in str(caught.value)


def test_tiles_of_the_whole_world_and_of_nothing(tmp_path: Path) -> None:
    squares = [shapely.box(x, y, x + 20, y + 10) for x in (-170, 100) for y in (-60, 50)]
    frame = geopandas.GeoDataFrame({"class": list("abcd")}, geometry=squares, crs=4326)
    frame.to_file(tmp_path / "world.gpkg")
    write_pmtiles(tmp_path / "world.gpkg", tmp_path / "world.pmtiles", gsd=20_000)
    told = (tmp_path / "world.pmtiles").read_bytes()
    assert told[:7] == b"PMTiles" and (told[100], told[101]) == (0, 3), "least and most zoom level"
    frame[:0].to_file(tmp_path / "none.gpkg")
    with pytest.raises(UsageError, match="would hold nothing"):
        write_pmtiles(tmp_path / "none.gpkg", tmp_path / "none.pmtiles")
    assert not (tmp_path / "none.pmtiles").exists()


def test_areas_of_a_view_in_degrees_are_those_on_the_ground() -> None:
    height, width = 60, 7
    grid = Grid(height=height, width=width, transform=Affine(0.01, 0, 11, 0, -0.5, 70), crs=CRS.from_epsg(4326))
    top = np.ones((height, width), np.uint8)
    top[5:9, :3], top[40:, 2:] = 0, 2
    plane = np.full_like(top, 125)
    seen = SeenView(
        result=b"", vocabulary=WORDS, grid=grid, placed=grid, thresholds={}, notes=[],
        scores=TopScores(top=top, score=plane, second=top, second_score=plane), seconds=0.0, cached=False,
    )  # fmt: skip
    facts = SimpleNamespace(georeferenced=True, bounds=(11, 40, 11.07, 70))
    part: Any = SimpleNamespace(raster=SimpleNamespace(id="abc", facts=facts))
    told = held("view", part, seen, fast=False, taught=None).body["histogram"]
    geod = Geod(ellps="WGS84")
    rows = []
    for row in range(height):
        north = 70 - 0.5 * row
        ring = shapely.box(11, north - 0.5, 11.01, north)
        rows.append(abs(geod.geometry_area_perimeter(ring)[0]))
    areas = np.broadcast_to(np.array(rows)[:, None], top.shape)
    assert told["unit"] == "m2"
    assert told["observed"] == pytest.approx(areas[top > 0].sum(), rel=2e-3)
    for number, entry in enumerate(told["classes"]):
        assert entry["areas"][125] == pytest.approx(areas[top == number + 1].sum(), rel=2e-3)
